"""Losses that ask for more than the cross-entropy of one point: functions of outcomes alone.

KL divergence and entropy are those of `attacks.objectives`; gradients flow into both arguments.
"""

from typing import Literal

import torch
from torch import Tensor

from surefoot.attacks.objectives import kl_divergence
from surefoot.types import Labels, Outcomes, PerExample

Closeness = Literal["kl", "soft-cross-entropy"]


def closeness(perturbed: Outcomes, clean: Outcomes, form: Closeness) -> PerExample:
    r"""Return how far the perturbed answer p is from the clean one q: the second term of TRADES.

    "kl" is the original, $\sum_c q_c \log (q_c / p_c)$; "soft-cross-entropy" that of the authors of
    UDP, $-\sum_c q_c \log (p_c + 10^{-8})$, which also pushes the entropy of q down.

    Reference: Zhang et al. 2019; Pagliardini et al. 2022 and its repository.
    """
    if form == "kl":
        return kl_divergence(perturbed, clean)
    return -(clean.softmax(1) * (perturbed.softmax(1) + 1e-8).log()).sum(1)


def boosted(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Return what the strongest wrong class is charged in MART: $-\log (1 - \max_{k \ne y} p_k)$.

    From logits: $\log \sum_j e^{f_j} - \log \sum_{j \ne k} e^{f_j}$, finite for every gap.

    Reference: Wang et al. 2020.
    """
    competitor = outcomes.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(1, keepdim=True)
    others = outcomes.scatter(1, competitor, -torch.inf)
    return outcomes.logsumexp(1) - others.logsumexp(1)


def mart(clean: Outcomes, perturbed: Outcomes, labels: Labels) -> PerExample:
    r"""Return the divergence, weighted by how unlikely the clean answer finds the label.

    $$ (1 - q_y) \, \mathrm{KL}(q \| p) $$

    Reference: Wang et al. 2020.
    """
    doubt = 1 - clean.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return doubt * kl_divergence(perturbed, clean)


def max_margin(clean: Tensor, perturbed: Tensor, counted: Tensor, clean_weight: float) -> Tensor:
    r"""Return the loss of MMA from cross-entropies: $w \, L(x) + (1 - w) \, [\text{counted}]
    L(x')$.

    Args:
        clean: cross-entropy at the image, `[B]`.
        perturbed: cross-entropy at the nearest wrong point, or at the image if that is wrong.
        counted: whether such a point was found; the margins of the others are large enough.
        clean_weight: w.

    Reference: Ding et al. 2020 and its code.
    """
    return clean_weight * clean + (1 - clean_weight) * torch.where(counted, perturbed, 0.0)
