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

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Images = Float[Tensor, "B ..."]
Labels = Int[Tensor, "B"]
AnyLabels = Tensor
"""Labels as they come from outside: `checked_labels` names what is wrong with them."""
Outcomes = Float[Tensor, "B O"]
Members = Float[Tensor, "M B C"]
Sets = Bool[Tensor, "B A O"]
PerAlternative = Float[Tensor, "B A"]
PerExample = Float[Tensor, "B"]
Flags = Bool[Tensor, "B"]
Pairwise = Float64[Tensor, "O O"]
Points = Float[Tensor, "N D"]

ValueRange = tuple[float | int, float | int] | None
"""Lowest and highest legal value of an input; None: no box, any finite value is legal."""

RANGE_TOLERANCE = 1e-6
"""Data may leave the box by this much (round-off of an earlier normalisation); `Data` clamps it."""


Edge = Annotated[float, "may be infinite"]
"""A wall of the box of legal values; infinite: there is none."""


def box_of(value_range: ValueRange) -> tuple[float, float]:
    """Return the lowest and the highest legal value; infinite where there is no box.

    Raises:
        ValueError: not two numbers, the lower one first.
    """
    if value_range is None:
        return (-math.inf, math.inf)
    low, high = value_range
    if not low < high:
        raise ValueError(
            f"`value_range` must be (low, high) with low < high, or None for no box; found"
            f" {value_range}"
        )
    return (float(low), float(high))


def rejects(model: Model) -> bool:
    """Return whether the last column of the model's outcomes means "uncertain"."""
    return bool(getattr(model, "rejects", False))


def checked_images(images: Tensor, low: float = 0.0, high: float = 1.0) -> Images:
    """Return the images in float32 or better, cut off the caller's graph, or raise.

    Half precision is widened, which is exact: offsets within a ball would drown in its rounding.

    Raises:
        ValueError: no non-empty floating-point batch `[B, ...]`, or a value outside `[low, high]`.
    """
    if images.ndim < 2 or not images.is_floating_point() or images.numel() == 0:
        raise ValueError(
            f"`images` must be a non-empty float batch [B, ...]; found shape {tuple(images.shape)},"
            f" {images.dtype}. Convert uint8 with images / 255; one image needs images[None]."
        )
    smallest, largest = (value.item() for value in torch.aminmax(images))
    finite = math.isfinite(smallest) and math.isfinite(largest)
    if not (finite and smallest >= low and largest <= high):
        if not finite:
            raise ValueError(
                f"`images` must lie in [{low:g}, {high:g}]; found a NaN or an infinity. Find"
                " its rows with ~images.flatten(1).isfinite().all(1) and drop them, or correct how"
                " they are read"
            )
        near = smallest >= low - RANGE_TOLERANCE and largest <= high + RANGE_TOLERANCE
        digits = ".9g" if near else ".6g"
        cause = (
            f"That is round-off: images.clamp({low:g}, {high:g}) moves it into the box."
            if near
            else "This looks like normalised or raw input: put the normalisation inside the model"
            " (surefoot.models.Normalize), so that radii stay in pixel units. For features that"
            " have another range, or none, give it: value_range of the data or the certificate,"
            " low and high of Threat (-math.inf and math.inf: no box)."
        )
        raise ValueError(
            f"`images` must lie in [{low:g}, {high:g}]; found {smallest:{digits}} to"
            f" {largest:{digits}}. {cause}"
        )
    images = images.detach()
    return images.float() if torch.finfo(images.dtype).bits < 32 else images


def checked_labels(labels: Tensor, images: Tensor, classes: int | None = None) -> Labels:
    """Return the labels as int64 `[B]` on the device of the images, or raise and name the cause.

    Any integer type is accepted, and `[B, 1]`.

    Args:
        labels: class indices.
        images: that they belong to.
        classes: how many there are; None: not known, so the largest label is not checked.
    """
    within = f" in [0, {classes - 1}]" if classes else ""
    wanted = f"`labels` must be one integer{within} for each of {len(images)} images"
    found = f"found shape {tuple(labels.shape)}, {labels.dtype}"
    if labels.ndim == 2 and len(labels) == len(images) and labels.shape[1] > 1:
        raise ValueError(f"{wanted}; {found}: one-hot rows? Pass labels.int().argmax(1).")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        whole = not labels.is_complex() and bool((labels == labels.long()).all())
        cause = (
            "Whole numbers convert with labels.long()."
            if whole
            else "Votes or probabilities? Pass the class of each image."
        )
        raise ValueError(f"{wanted}; {found}. {cause}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{wanted}; {found}. Pass as many labels as images, in their order.")
    labels = labels.detach().to(images.device, torch.int64)
    smallest, largest = (int(value) for value in torch.aminmax(labels))
    if smallest < 0:
        raise ValueError(
            f"{wanted}; found {smallest}. Negative values (-1, -100) mark rows without a label:"
            " drop these rows, for instance images[labels >= 0] and labels[labels >= 0]."
        )
    if classes is not None:
        check_largest(largest, classes)
    return labels


def check_largest(largest: int, classes: int) -> None:
    """Raise unless the largest label has a column."""
    if largest >= classes:
        raise ValueError(
            f"`labels` must lie in [0, {classes - 1}]; found {largest}, but the outcomes have"
            f" {classes} classes. Count classes from 0, and give the model as many outputs as there"
            " are classes."
        )
