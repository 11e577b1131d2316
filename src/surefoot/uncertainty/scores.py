"""Uncertainty scores of logits, or of several members: higher = less certain, in [0, 1] if bounded.

All are computed from `log_softmax`, so that large logit gaps give 0 and never NaN; a NaN logit
gives a NaN score, which a selective classifier rejects.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from surefoot.types import Members, Outcomes, PerExample
from surefoot.uncertainty.members import log_mean


def max_probability(logits: Outcomes) -> PerExample:
    r"""Give one minus the largest probability: $1 - \max_c p_c$, in [0, 1 - 1/C]."""
    return -torch.expm1(logits.log_softmax(1).amax(1))


def entropy(logits: Outcomes) -> PerExample:
    r"""Give the entropy in units of its maximum: $-\sum_c p_c \log p_c / \log C$, in [0, 1]."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1) / math.log(logits.shape[1])


def margin(logits: Outcomes) -> PerExample:
    """Give one minus the lead of the best over the second probability, in [0, 1]."""
    best = logits.softmax(1).topk(2, dim=1).values
    return 1 - (best[:, 0] - best[:, 1])


def energy(logits: Outcomes) -> PerExample:
    r"""Give the free energy $-\log \sum_c e^{f_c}$ (Liu et al. 2020); unbounded."""
    return -logits.logsumexp(1)


def mutual_information(members: Members) -> PerExample:
    r"""Give what the members disagree about: total minus expected entropy, in units of log C.

    $$ \Bigl( H(\tfrac{1}{M} \sum_m p_m) - \tfrac{1}{M} \sum_m H(p_m) \Bigr) / \log C $$
    In [0, log min(M, C) / log C], up to rounding; 0 where all say the same, however unsure.
    """
    expected = torch.stack([entropy(member) for member in members]).mean(0)
    return entropy(log_mean(members)) - expected


def member_variance(members: Members) -> PerExample:
    r"""Give the variance over members of the probabilities, summed over classes, in [0, 1 - 1/M].

    $$ \sum_c \tfrac{1}{M} \sum_m (p_{mc} - \bar p_c)^2 $$
    """
    return members.softmax(2).var(0, correction=0).sum(1)


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "max-probability": max_probability,
    "entropy": entropy,
    "margin": margin,
    "energy": energy,
}

MEMBER_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "mutual-information": mutual_information,
    "member-variance": member_variance,
}
