"""Minimal-norm attacks: the nearest misclassified image, without a budget.

Rony et al. 2019 (DDN, l2); Pintor et al. 2021 (FMN, l2 and linf). They bound the distance to the
boundary from above; an image they find for a distance is a counterexample at every larger eps.
"""

import math

import torch
from torch import Tensor

from surefoot.attacks.counted import Counted
from surefoot.attacks.objectives import cross_entropy, cw, wrong
from surefoot.models.frozen import frozen
from surefoot.threat import Norm, Threat, spread
from surefoot.types import AnyLabels, Images, Model, checked_images, checked_labels


def ddn(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    steps: int = 100,
    factor: float = 0.05,
    low: float = 0.0,
    high: float = 1.0,
) -> Images:
    """Search the nearest misclassified image in l2 by decoupling direction and length.

    Each step follows the normalised gradient of the cross-entropy, then takes exactly the length
    of the budget, which shrinks by `factor` where the iterate is misclassified and grows where not.
    No rounding to grey levels.

    Args:
        model: maps images to logits.
        images: origins, inside the box.
        labels: true labels.
        steps: gradient steps.
        factor: of the budget.
        low: smallest legal pixel.
        high: largest legal pixel.

    Returns:
        the nearest misclassified image found; the original where it is misclassified already, or
        where nothing was found (ask the model which).
    """
    images = checked_images(images, low, high)
    if steps < 1:
        raise ValueError(f"need steps >= 1; found {steps}")
    ball = Threat("l2", 1.0, low, high)
    keep = _Nearest(images, "l2")
    offset = torch.zeros_like(images)
    budget = torch.ones(len(images), device=images.device)
    limit = _length((images - low).maximum(high - images), "l2")
    rows = torch.arange(len(images), device=images.device)
    with frozen(model):
        counted = Counted(model)
        labels = checked_labels(labels, images, counted(images[:1]).shape[1])
        for step in range(steps):
            here = images + offset
            evaluated = counted.evaluate(
                lambda out, own: cross_entropy(out, labels[own]), here, rows
            )
            missed = wrong(evaluated.outcomes, labels)
            keep.note(here, missed)
            offset = offset + _cosine(step, steps, 1.0, 0.01) * ball.steepest(evaluated.gradient)
            budget = torch.where(missed, budget * (1 - factor), budget * (1 + factor))
            budget = torch.minimum(budget, limit)
            length = _length(offset, "l2").clamp(min=1e-12)
            offset = offset * spread(budget / length, offset)
            offset = (images + offset).clamp(low, high) - images
        keep.note(images + offset, wrong(counted(images + offset), labels))
    return keep.images


def fmn(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    norm: Norm = "l2",
    steps: int = 100,
    low: float = 0.0,
    high: float = 1.0,
) -> Images:
    """Search the nearest misclassified image by a shrinking and growing ball (FMN).

    Until an example is found its budget is the distance to the linearised boundary; afterwards it
    shrinks below the best distance, or grows while the iterate is right again.

    Args:
        model: maps images to logits.
        images: origins, inside the box.
        labels: true labels.
        norm: "l2" or "linf".
        steps: gradient steps.
        low: smallest legal pixel.
        high: largest legal pixel.

    Returns:
        as `ddn`.
    """
    images = checked_images(images, low, high)
    if steps < 1:
        raise ValueError(f"need steps >= 1; found {steps}")
    keep = _Nearest(images, norm)
    offset = torch.zeros_like(images)
    budget = torch.full((len(images),), torch.inf, device=images.device)
    climb = Threat("l2", 1.0, low, high)
    dual = 1 if norm == "linf" else 2
    rows = torch.arange(len(images), device=images.device)
    with frozen(model):
        counted = Counted(model)
        labels = checked_labels(labels, images, counted(images[:1]).shape[1])
        for step in range(steps):
            here = images + offset
            evaluated = counted.evaluate(lambda out, own: cw(out, labels[own]), here, rows)
            missed = wrong(evaluated.outcomes, labels)
            keep.note(here, missed)
            steep = torch.linalg.vector_norm(evaluated.gradient.flatten(1), ord=dual, dim=1)
            rate = _cosine(step, steps, 0.05, 0.001)
            linear = _length(offset, norm) + evaluated.value.abs() / steep.clamp(min=1e-12)
            # A little farther: exactly on a straight boundary nothing is found, nor ever left.
            linear = linear * (1 + rate)
            shrunk = torch.minimum(budget * (1 - rate), keep.distance.to(budget))
            grown = torch.where(keep.distance.isfinite(), budget * (1 + rate), linear)
            budget = torch.where(missed, shrunk, grown)
            size = _cosine(step, steps, 1.0, 0.01)
            offset = offset + size * climb.steepest(evaluated.gradient)
            offset = _shrink(offset, budget, norm)
            offset = (images + offset).clamp(low, high) - images
        keep.note(images + offset, wrong(counted(images + offset), labels))
    return keep.images


class _Nearest:
    """The nearest misclassified image so far."""

    def __init__(self, origins: Images, norm: Norm) -> None:
        self.origins, self.images = origins, origins.clone()
        self.ruler = Threat(norm, 0.0)
        self.distance = torch.full(
            (len(origins),), torch.inf, device=origins.device, dtype=torch.float64
        )

    def note(self, images: Images, missed: Tensor) -> None:
        distance = self.ruler.distance(images, self.origins)
        better = missed & (distance < self.distance)
        self.distance = torch.where(better, distance, self.distance)
        self.images = torch.where(spread(better, images), images, self.images)


def _length(offset: Tensor, norm: Norm) -> Tensor:
    order = torch.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(offset.flatten(1), ord=order, dim=1)


def _shrink(offset: Tensor, budget: Tensor, norm: Norm) -> Tensor:
    """Bring each offset into the ball of its own budget."""
    wall = spread(budget, offset)
    if norm == "linf":
        return torch.minimum(torch.maximum(offset, -wall), wall)
    length = _length(offset, norm).clamp(min=1e-12)
    return offset * spread((budget / length).clamp(max=1.0), offset)


def _cosine(step: int, steps: int, first: float, last: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2
