"""Uncertainty scores of logits: higher = less certain, in [0, 1] where bounded.

All are computed from `log_softmax`, so that large logit gaps give 0 and never NaN; a NaN logit
gives a NaN score, which a selective classifier rejects.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from surefoot.types import Outcomes, PerExample


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


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "max-probability": max_probability,
    "entropy": entropy,
    "margin": margin,
    "energy": energy,
}
