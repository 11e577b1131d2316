"""Array types, shared argument prose, and the checks made once at the public border.

Shape letters, everywhere in surefoot: B batch, C classes, O outcomes (classes, and one more column
"uncertain" for a selective classifier), A alternatives, D points, S noise draws, M members.

Shared arguments:
    model: maps images `[B, ...]` in `[0, 1]` to finite outcomes `[B, O]` (logits, never
        probabilities). Normalisation belongs inside it, so that radii stay in pixel units.
    images: floating point, values in `[low, high]` of the threat.
    labels: integers in `[0, C)`.
    generator: source of all randomness; the global stream is never touched.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Images = Float[Tensor, "B ..."]
Labels = Int[Tensor, "B"]
Outcomes = Float[Tensor, "B O"]
Members = Float[Tensor, "M B C"]
Sets = Bool[Tensor, "B A O"]
PerAlternative = Float[Tensor, "B A"]
PerExample = Float[Tensor, "B"]
Flags = Bool[Tensor, "B"]
Pairwise = Float64[Tensor, "O O"]
Points = Float[Tensor, "N D"]

RANGE_TOLERANCE = 1e-6
"""Inputs may leave the box by this much (round-off of an earlier normalisation), no more."""


def rejects(model: Model) -> bool:
    """Say whether the last column of the model's outcomes means "uncertain"."""
    return bool(getattr(model, "rejects", False))


def check_images(images: Tensor, low: float = 0.0, high: float = 1.0) -> None:
    """Raise unless `images` is a non-empty floating-point batch, finite, inside `[low, high]`."""
    if images.ndim < 2 or not images.is_floating_point() or len(images) == 0:
        raise ValueError(
            f"`images` must be a non-empty float batch [B, ...]; found shape {tuple(images.shape)},"
            f" {images.dtype}. Convert uint8 with images / 255."
        )
    smallest, largest = (value.item() for value in torch.aminmax(images))
    if not (smallest >= low - RANGE_TOLERANCE and largest <= high + RANGE_TOLERANCE):
        raise ValueError(
            f"`images` must lie in [{low:g}, {high:g}]; found {smallest:.6g} to {largest:.6g}."
            " This looks like normalised or raw input: put the normalisation inside the model"
            " (surefoot.models.Normalize), so that radii stay in pixel units."
        )


def check_labels(labels: Tensor, images: Tensor, classes: int) -> None:
    """Raise unless `labels` holds one class index for each image."""
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"`labels` must be one integer for each of {len(images)} images; found shape"
            f" {tuple(labels.shape)}, {labels.dtype}."
        )
    smallest, largest = (int(value) for value in torch.aminmax(labels))
    if smallest < 0 or largest >= classes:
        raise ValueError(
            f"`labels` must lie in [0, {classes - 1}]; found min {smallest}, max {largest}."
            " Count classes from 0 and give the model as many outputs as there are classes."
        )
