"""How far annotators disagree with the label of a point, and with the labels of a region.

Zhang, Evans, "Understanding Intrinsic Robustness using Label Uncertainty", ICLR 2022. Not here:
where the probabilities come from (votes, annotators, a cross-validated model).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.data import Data
from surefoot.types import AnyLabels, PerExample, checked_labels

ROW_TOLERANCE = 1e-3
"""A row of probabilities may sum to one with this error (published tables are rounded)."""


def label_uncertainty(probabilities: Float[Tensor, "B C"], labels: AnyLabels) -> PerExample:
    r"""Measure how far the label of each point is from undisputed, in [0, 2].

    $$ \mathrm{LU}(x) = 1 - \eta(x)_{c(x)} + \max_{y \ne c(x)} \eta(x)_y $$
    0: all annotators chose c(x); 1: a tie between c(x) and the runner-up; above 1: another class
    has more votes.

    Args:
        probabilities: the fraction of annotators (or votes) for each class; rows sum to one within
            1e-3.
        labels: the class c(x) that counts as the truth of each point.

    Returns:
        One value a point, in the floating type of `probabilities`.

    Raises:
        ValueError: fewer than two classes, rows that are no distributions, labels out of range.

    Example:
        >>> import torch
        >>> label_uncertainty(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), torch.tensor([0, 0]))
        tensor([0.0000, 1.5000])

    Reference: Zhang, Evans, ICLR 2022, arXiv 2107.03250.
    """
    _check_probabilities(probabilities)
    labels = checked_labels(labels, probabilities, probabilities.shape[1])
    chosen = labels.long().unsqueeze(1)
    own = probabilities.gather(1, chosen).squeeze(1)
    runner_up = probabilities.scatter(1, chosen, -1.0).amax(1)
    return (1 - own + runner_up).clamp(0, 2)


def uncertainty_of(data: Data) -> PerExample:
    """Return the label uncertainty of each row of a data set; 0 where it has no human labels."""
    if data.probabilities is None:
        return torch.zeros(len(data))
    return label_uncertainty(data.probabilities, data.labels)


def largest_gamma(uncertainty: PerExample, risk: float) -> float:
    r"""Return the largest mean label uncertainty that a subset of measure at least `risk` can have.

    $$ \gamma^* = \frac1k \sum_{i=1}^{k} \mathrm{LU}_{(i)}, \quad k = \lceil \mathrm{risk} \cdot n
    \rceil $$
    with LU sorted from the largest down. No region of that measure reaches a `gamma` above it,
    whatever its shape.

    Args:
        uncertainty: label uncertainty of each point.
        risk: least measure of the subset, in (0, 1].

    Raises:
        ValueError: no points, a NaN or an infinity among them, `risk` outside (0, 1].

    Example:
        >>> import torch
        >>> largest_gamma(torch.tensor([0.0, 1.0, 0.5, 0.0]), 0.5)
        0.75
    """
    if len(uncertainty) == 0 or not bool(uncertainty.isfinite().all()):
        raise ValueError("`uncertainty` must hold at least one value and only finite ones")
    if not 0 < risk <= 1:
        raise ValueError(
            f"`risk` must lie in (0, 1]; found {risk}. It is a fraction of the points."
        )
    count = points_needed(risk, len(uncertainty))
    return uncertainty.double().topk(count).values.mean().item()


def points_needed(fraction: float, points: int) -> int:
    """Count the points that make up at least `fraction` of `points`, safe from round-off; at least
    1.

    >>> points_needed(0.07, 100)
    7
    """
    return max(1, math.ceil(fraction * points - 1e-9))


def _check_probabilities(probabilities: Tensor) -> None:
    rows, classes = probabilities.shape
    if rows == 0 or classes < 2:
        raise ValueError(
            f"`probabilities` must be [N, C] with N >= 1 and C >= 2; found {rows} x {classes}."
        )
    total = probabilities.sum(1)
    smallest, error = probabilities.min().item(), (total - 1).abs().max().item()
    if not (smallest >= 0 and error <= ROW_TOLERANCE):
        raise ValueError(
            "`probabilities` must be non-negative rows that sum to one; found smallest entry"
            f" {smallest:.6g}, sums up to {error:.6g} away from one. Divide counts by their row"
            " sum; put logits through a softmax."
        )
