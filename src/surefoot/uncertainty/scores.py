"""Uncertainty scores of logits, or of several members: higher = less certain, in [0, 1] if bounded.

All are computed from `log_softmax`, so that large logit gaps lead to 0 and never NaN; a NaN logit
leads to a NaN score, which a selective classifier rejects.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot, relu, softplus

from surefoot.types import Members, Outcomes, PerExample
from surefoot.uncertainty.members import log_mean

Evidence = Literal["relu", "softplus", "exp"]


def least_confidence(logits: Outcomes) -> PerExample:
    r"""Return one minus the largest probability: $1 - \max_c p_c$, in [0, 1 - 1/C].

    Summed over the other classes, so that it stays above 0 however large the gap of the logits.
    """
    return (_others(logits) - logits.logsumexp(1)).exp()


def entropy(logits: Outcomes) -> PerExample:
    r"""Return the entropy in units of its maximum: $-\sum_c p_c \log p_c / \log C$, in [0, 1]."""
    logs = logits.log_softmax(1)
    # Once logits saturate, log p of the best class is rounded to 0: it is log(1 - others).
    best = torch.log1p(-least_confidence(logits)).unsqueeze(1)
    logs = logs.scatter(1, logits.argmax(1, keepdim=True), best)
    return -(logs.exp() * logs).sum(1) / math.log(logits.shape[1])


def margin_uncertainty(logits: Outcomes) -> PerExample:
    r"""Return $1 - (p_1 - p_2)$, as $(1 - p_1) + p_2$, in [0, 1]."""
    second = logits.log_softmax(1).topk(2, dim=1).values[:, 1]
    return least_confidence(logits) + second.exp()


def _others(logits: Outcomes) -> PerExample:
    """Return the log of the sum over all classes but the best of $e^{f_c}$."""
    return logits.scatter(1, logits.argmax(1, keepdim=True), -torch.inf).logsumexp(1)


def energy(logits: Outcomes) -> PerExample:
    r"""Return the free energy $-\log \sum_c e^{f_c}$ (Liu et al. 2020); unbounded."""
    return -logits.logsumexp(1)


def vacuity(logits: Outcomes, evidence: Evidence = "softplus") -> PerExample:
    r"""Return the fraction of a Dirichlet distribution that no evidence supports, in (0, 1].

    $$ \frac{C}{\sum_c (e(f_c) + 1)}, \quad e = \mathrm{relu}, \mathrm{softplus} \text{ or } \exp $$
    It means that for nets trained by an evidential loss with the same e, whose logits are amounts
    of evidence. Logits of a net trained by cross-entropy are fixed up to a constant that the loss
    does not see, and so is this number; it still orders images, for exp as the free energy does.

    Reference: Sensoy, Kaplan, Kandemir 2018.
    """
    classes = logits.shape[1]
    if evidence == "exp":  # from the log of the sum: no logit overflows
        return (math.log(classes) - logits.logsumexp(1)).sigmoid()
    amounts = relu(logits) if evidence == "relu" else softplus(logits)
    return classes / (amounts + 1).sum(1)


def mutual_information(members: Members) -> PerExample:
    r"""Return what the members disagree about: total minus expected entropy, in units of log C.

    $$ \Bigl( H(\tfrac{1}{M} \sum_m p_m) - \tfrac{1}{M} \sum_m H(p_m) \Bigr) / \log C $$
    In [0, log min(M, C) / log C], up to rounding; 0 where all agree, however uncertain.
    """
    expected = torch.stack([entropy(member) for member in members]).mean(0)
    return entropy(log_mean(members)) - expected


def member_variance(members: Members) -> PerExample:
    r"""Return the variance over members of the probabilities, summed over classes, in [0, 1 - 1/M].

    $$ \sum_c \tfrac{1}{M} \sum_m (p_{mc} - \bar p_c)^2 $$
    """
    return members.softmax(2).var(0, correction=0).sum(1)


def vote_disagreement(members: Members) -> PerExample:
    r"""Return the fraction of members that do not vote for the most voted label, in [0, 1 - 1/C].

    $$ 1 - \max_c \tfrac{1}{M} \sum_m [\arg\max_k f_{mk} = c] $$
    It is flat between its jumps; its gradient is that of $1 - \max_c \bar p_c$, for attacks to
    climb.
    """
    votes = one_hot(members.argmax(2), members.shape[2]).to(members).mean(0)
    smooth = 1 - members.softmax(2).mean(0).amax(1)
    return 1 - votes.amax(1) + (smooth - smooth.detach())  # + 0, or NaN for a NaN member


def bounded_variance(variance: PerExample) -> PerExample:
    r"""Return a latent variance as a fraction, $v / (1 + v)$, in [0, 1).

    v is the latent variance of a Gaussian process in units of its prior's: 1/2 is what is left far
    from the data. Images are ordered and accepted as by v, and certificates of the mean and of the
    distribution of a smoothed score, which need a bounded one, can take it.
    """
    return variance / (1 + variance)


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "least-confidence": least_confidence,
    "entropy": entropy,
    "margin-uncertainty": margin_uncertainty,
    "energy": energy,
    "vacuity-relu": partial(vacuity, evidence="relu"),
    "vacuity-softplus": partial(vacuity, evidence="softplus"),
    "vacuity-exp": partial(vacuity, evidence="exp"),
}

MEMBER_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "mutual-information": mutual_information,
    "member-variance": member_variance,
    "vote-disagreement": vote_disagreement,
}

PROCESS_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "latent-variance": lambda variance: variance,
    "gp-variance": bounded_variance,
}
"""Of what a model computes by a method of its own, `latent_variance(images) -> [B]` (DUE)."""
