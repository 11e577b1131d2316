"""What an attack ascends, one value an example: higher = closer to success."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from surefoot.types import Flags, Labels, Outcomes, PerExample

SATURATED_GAP = 50.0
"""From this gap of the two largest logits on, the gradient of the entropy drowns in rounding."""


def cross_entropy(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Return $-\log p_y$."""
    return torch_cross_entropy(outcomes, labels, reduction="none")


def cw(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Return $\max_{j \ne y} f_j - f_y$ (Carlini, Wagner 2017): above 0 where wrong."""
    own = labels.unsqueeze(1)
    others = outcomes.scatter(1, own, -torch.inf)
    return others.amax(1) - outcomes.gather(1, own).squeeze(1)


def wrong(outcomes: Outcomes, labels: Labels) -> Flags:
    """Return where the label does not win; a row with a non-finite outcome is never right."""
    return (outcomes.argmax(1) != labels) | ~outcomes.isfinite().all(1)


def shannon(outcomes: Tensor) -> Tensor:
    r"""Return the predictive entropy $-\sum_c p_c \log p_c$ in nats, finite for every logit gap."""
    logs = outcomes.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def entropy(outcomes: Outcomes, labels: Labels | None = None) -> PerExample:
    r"""Return the predictive entropy $-\sum_c p_c \log p_c$ in nats; labels are not used.

    Computed from `log_softmax`, so it is finite for every logit gap. Where the two largest logits
    are more than `SATURATED_GAP` apart the gradient of the entropy is zero in floating point; there
    minus the gap stands in, which ascends in the same direction (exactly so for two classes).
    """
    value = shannon(outcomes)
    best = outcomes.topk(2, dim=1).values
    gap = best[:, 0] - best[:, 1]
    return torch.where(gap > SATURATED_GAP, -gap, value)


def kl_divergence(outcomes: Outcomes, clean: Outcomes) -> PerExample:
    r"""Return the divergence from the clean outputs, $\sum_c q_c (\log q_c - \log p_c)$.

    q belongs to `clean`, p to `outcomes`. The gradient is zero where both agree: start elsewhere.
    """
    reference = clean.log_softmax(1)
    return (reference.exp() * (reference - outcomes.log_softmax(1))).sum(1)


def mutual_information(members: Float[Tensor, "B C M"]) -> PerExample:
    r"""Return the disagreement of the members.

    $$ H(\tfrac{1}{M} \sum_m p_m) - \tfrac{1}{M} \sum_m H(p_m) $$
    In nats, between 0 and log M; 0 where all members agree, however uncertain they are.
    """
    logs = members.log_softmax(1)
    mean = logs.logsumexp(2) - math.log(members.shape[2])
    return shannon(mean) - shannon(logs).mean(1)


def dlr(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Return the difference of logits ratio, which no rescaling of the logits changes.

    $$ -\frac{f_y - \max_{j \ne y} f_j}{f_{(1)} - f_{(3)}} $$
    with f_(i) the i-th largest. Below three outcomes there is no f_(3): `cw` stands in.

    Reference: Croce, Hein 2020, equation 4.
    """
    value = cw(outcomes, labels)
    if outcomes.shape[1] < 3:
        return value
    best = outcomes.topk(3, dim=1).values
    return value / (best[:, 0] - best[:, 2] + 1e-12)


def targeted_dlr(outcomes: Outcomes, labels: Labels, targets: Labels) -> PerExample:
    r"""Return the difference of logits ratio towards one target.

    $$ -\frac{f_y - f_t}{f_{(1)} - (f_{(3)} + f_{(4)}) / 2} $$
    Below four outcomes $f_t - f_y$ stands in.

    Reference: Croce, Hein 2020, equation 5.
    """
    pair = torch.stack([targets, labels], 1)
    target, own = outcomes.gather(1, pair).unbind(1)
    if outcomes.shape[1] < 4:
        return target - own
    best = outcomes.topk(4, dim=1).values
    return (target - own) / (best[:, 0] - (best[:, 2] + best[:, 3]) / 2 + 1e-12)


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "cw": cw,
    "dlr": dlr,
    "entropy": entropy,
}


def objective_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Find an objective by its name."""
    if name not in OBJECTIVES:
        raise ValueError(f"`objective` must be one of {', '.join(OBJECTIVES)}; found {name!r}")
    return OBJECTIVES[name]
