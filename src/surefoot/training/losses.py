"""The losses of recipes: small frozen records, each a function of the outputs on a batch.

L is the cross-entropy, or the model's own criterion; x an image and x' the perturbed one, q and p
the probabilities there. KL divergence and entropy are those of `attacks.objectives`; gradients flow
into both arguments.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surefoot.attacks.objectives import kl_divergence, shannon, wrong
from surefoot.training.outputs import Outputs
from surefoot.types import Labels, Outcomes, PerExample

Closeness = Literal["kl", "soft-cross-entropy"]


@dataclass(frozen=True)
class CrossEntropy:
    """L(x'), the mean over noise samples."""

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        return outputs.losses.mean(0)


@dataclass(frozen=True)
class RewardedEntropy:
    r"""L(x) - w H(q), a reward for uncertainty (Pereyra et al. 2017).

    Args:
        weight: Weight w of the entropy, in nats.
    """

    weight: float = 0.1

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        return outputs.cross_entropy(outputs.clean) - self.weight * shannon(outputs.clean)


@dataclass(frozen=True)
class CleanToo:
    """L(x) + w L(x') (UDPR of Pagliardini et al. 2022).

    Args:
        weight: Weight w of the second term.
    """

    weight: float = 1.0

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        clean = outputs.cross_entropy(outputs.clean)
        return clean + self.weight * outputs.cross_entropy(outputs.perturbed)


@dataclass(frozen=True)
class Trades:
    r"""L(x) + w KL(q, p): right at the image, unchanged in its neighbourhood (Zhang et al. 2019).

    Args:
        weight: Weight w of the second term.
        form: Form of the second term: the original divergence, or the soft cross-entropy of the
            authors of UDP (with weight 1 it is the weak baseline of their tables).
    """

    weight: float = 6.0
    form: Closeness = "kl"

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        far = closeness(outputs.perturbed, outputs.clean, self.form)
        return outputs.cross_entropy(outputs.clean) + self.weight * far


@dataclass(frozen=True)
class Mart:
    r"""More weight on images that are hard when clean (Wang et al. 2020).

    $$ L(x') - \log (1 - \max_{k \ne y} p_k) + w (1 - q_y) \, \mathrm{KL}(q \| p) $$

    Args:
        weight: Weight w of the last term.
    """

    weight: float = 6.0

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        clean, perturbed, labels = outputs.clean, outputs.perturbed, outputs.labels
        own = outputs.cross_entropy(perturbed) + boosted(perturbed, labels)
        return own + self.weight * weighted_divergence(clean, perturbed, labels)


@dataclass(frozen=True)
class MaxMargin:
    """The clean loss, and the loss at the boundary where one was found (MMA, Ding et al. 2020).

    Args:
        clean_weight: Fraction of the clean loss.
    """

    clean_weight: float = 1 / 3

    def __post_init__(self) -> None:
        if not 0 <= self.clean_weight <= 1:
            raise ValueError(f"`clean_weight` must lie in [0, 1]; found {self.clean_weight}")

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        clean = outputs.cross_entropy(outputs.clean)
        counted = outputs.moved | wrong(outputs.clean, outputs.labels)
        near = outputs.cross_entropy(outputs.perturbed)
        return max_margin(clean, near, counted, self.clean_weight)


@dataclass(frozen=True)
class Consistency:
    r"""Noise samples must be right, and agree (Jeong, Shin 2020).

    $$ \tfrac{1}{S} \sum_s L(x + e_s) + w \, \tfrac{1}{S} \sum_s \mathrm{KL}(\bar p \| p_s)
       + v \, H(\bar p), \quad \bar p = \tfrac{1}{S} \sum_s p_s $$

    Args:
        weight: Weight w of the divergence.
        entropy_weight: Weight v of the entropy in nats; above 0 the samples agree on something.
    """

    weight: float = 10.0
    entropy_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_weights(weight=self.weight, entropy_weight=self.entropy_weight)

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        mean = outputs.samples.log_softmax(2).logsumexp(0)  # up to a constant a row
        apart = torch.stack([kl_divergence(one, mean) for one in outputs.samples]).mean(0)
        return outputs.losses.mean(0) + self.weight * apart + self.entropy_weight * shannon(mean)


@dataclass(frozen=True)
class ConfidenceAware:
    r"""Easy noise for images that are hard, the worst for those that are easy (CAT-RS).

    With k of the S noise samples right, and losses in ascending order $L_{(1)} \le L_{(2)} \dots$,
    $$ \tfrac{1}{S} \sum_{i \le \max(k, 1)} L_{(i)}
       + w \, [k = S] \, \max_s \max_{x' \in B(x)} L(x' + e_s), $$
    the last term at the samples that `WorstNoise` appends. In the manner of confidence-aware
    training (Jeong, Kim, Shin 2023), simplified: k is the count itself, where the authors draw it
    from a binomial distribution of that fraction, or of a confidence that a first net has given;
    the worst case is the cross-entropy of the label, where theirs is the divergence from the soft
    prediction of that net; what moves is the image under the noise, within its box, and mean and
    deviation of the noise are not restored; the worst sample is chosen in eval mode, and it alone
    is trained on.

    Args:
        weight: Weight w of the worst case.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_weights(weight=self.weight)

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        losses, worst = outputs.losses[:-1], outputs.losses[-1]
        samples, right = len(losses), outputs.right[:-1].sum(0)
        ranks = torch.arange(samples, device=losses.device).unsqueeze(1)
        kept = torch.where(ranks < right.clamp(min=1), losses.sort(0).values, 0.0).sum(0)
        return kept / samples + self.weight * torch.where(right == samples, worst, 0.0)


def closeness(perturbed: Outcomes, clean: Outcomes, form: Closeness) -> PerExample:
    r"""Return the divergence of the perturbed outputs from the clean ones: second term of TRADES.

    "kl" is the original, $\sum_c q_c \log (q_c / p_c)$; "soft-cross-entropy" that of the authors of
    UDP, $-\sum_c q_c \log (p_c + 10^{-8})$, which also pushes the entropy of q down.

    Reference: Zhang et al. 2019; Pagliardini et al. 2022 and its repository.
    """
    if form == "kl":
        return kl_divergence(perturbed, clean)
    return -(clean.softmax(1) * (perturbed.softmax(1) + 1e-8).log()).sum(1)


def boosted(outcomes: Outcomes, labels: Labels) -> PerExample:
    r"""Return the penalty on the strongest wrong class in MART: $-\log (1 - \max_{k \ne y} p_k)$.

    From logits: $\log \sum_j e^{f_j} - \log \sum_{j \ne k} e^{f_j}$, finite for every gap.

    Reference: Wang et al. 2020.
    """
    competitor = outcomes.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(1, keepdim=True)
    others = outcomes.scatter(1, competitor, -torch.inf)
    return outcomes.logsumexp(1) - others.logsumexp(1)


def weighted_divergence(clean: Outcomes, perturbed: Outcomes, labels: Labels) -> PerExample:
    r"""Return the divergence, weighted by how unlikely the label is at the clean image.

    $$ (1 - q_y) \, \mathrm{KL}(q \| p) $$

    Reference: Wang et al. 2020.
    """
    weight = 1 - clean.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return weight * kl_divergence(perturbed, clean)


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


def _check_weights(**weights: float) -> None:
    """Raise unless the terms of a loss are finite and not rewarded."""
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"`{name}` must be finite and at least 0; found {weight}")
