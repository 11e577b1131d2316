"""What an attack climbs, one value an example: higher = closer to success."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from surefoot.types import Labels, Outcomes, PerExample

SATURATED_GAP = 50.0
"""From this lead of the best logit on, the gradient of the entropy drowns in rounding."""


def cross_entropy(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Give $-\log p_y$."""
    return torch_cross_entropy(outcomes, labels, reduction="none")


def margin(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Give $\max_{j \ne y} f_j - f_y$: above 0 exactly where the label is wrong."""
    own = labels.unsqueeze(1)
    others = outcomes.scatter(1, own, -torch.inf)
    return others.amax(1) - outcomes.gather(1, own).squeeze(1)


def entropy(outcomes: Outcomes, labels: Labels | None = None) -> PerExample:
    r"""Give the predictive entropy $-\sum_c p_c \log p_c$ in nats; labels are not used.

    Computed from `log_softmax`, so it is finite for every logit gap. Where the best logit leads by
    more than `SATURATED_GAP` the gradient of the entropy is zero in floating point; there minus the
    lead stands in, which climbs in the same direction (exactly so for two classes).
    """
    logs = outcomes.log_softmax(1)
    value = -(logs.exp() * logs).sum(1)
    best = outcomes.topk(2, dim=1).values
    lead = best[:, 0] - best[:, 1]
    return torch.where(lead > SATURATED_GAP, -lead, value)


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "entropy": entropy,
}
