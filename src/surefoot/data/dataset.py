"""Hold one split of a data set, labelled or not, checked once.

Every source of this package returns a `Data`. Not here: augmentation, loaders, devices.
"""

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surefoot.data import layout
from surefoot.data.on_disk import OnDisk
from surefoot.types import (
    RANGE_TOLERANCE,
    Images,
    Labels,
    ValueRange,
    box_of,
    checked_labels,
)

ROW_SUM_TOLERANCE = 1e-4
HASHED_ROWS = 1024
"""So many rows are hashed at a time."""


@dataclass(frozen=True, eq=False)
class Data:
    """Keep images, and labels and class names where known; rows stay in the order of the source.

    Attributes:
        images: uint8 `[N, planes, H, W]`, `[N, 1, L]` or `[N, D]`, or float32 in the value range
            with any trailing shape; what round-off left outside by 1e-6 is moved to the border.
            From a numpy array also float64, and planes last. Or memory-mapped files (`OnDisk`).
        labels: class indices from 0, `[N]` or `[N, 1]` of any integer type; kept as int64 `[N]`.
            None: not known; then `bracket` takes the prediction of each row for its label.
        classes: one name per class; None: numbers, as many as the labels show (() without labels).
        probabilities: float32 `[N, C]`, the fraction of human votes for each class, where known.
        value_range: lowest and highest legal value of a float input; None: any finite value.
        levels: the integer that means 1.0 in uint8 images.
        name: how records call the data set.

    Example:
        >>> data = Data(np.array([[-3.0, 2.5], [40.0, 1.0]]), [0, 1], value_range=None)
        >>> len(data), data.classes, data.box
        (2, ('0', '1'), (-inf, inf))
    """

    images: Any
    labels: Any = None
    classes: Any = field(default=None, kw_only=True)
    probabilities: Any = field(default=None, kw_only=True)
    value_range: ValueRange = field(default=(0.0, 1.0), kw_only=True)
    levels: int = field(default=255, kw_only=True)
    name: str = field(default="data", kw_only=True)

    def __post_init__(self) -> None:
        low, high = self.box
        images = _as_images(self.images)
        _check_shape(images)
        if images.dtype == torch.uint8 and (low, high) != (0.0, 1.0):
            raise ValueError(
                f"uint8 `images` mean [0, 1]: `levels` says which integer is 1.0; found the value"
                f" range [{low:g}, {high:g}]. For another unit pass float images."
            )
        if not 1 <= self.levels <= 255:
            raise ValueError(
                f"`levels` must lie in [1, 255], the integer that means 1.0: {self.levels}"
            )
        if not isinstance(images, OnDisk):
            images = self._checked(images)
        probabilities = _as_probabilities(self.probabilities)
        labels = _as_labels(self.labels)
        classes = self.classes
        if classes is None:
            classes = layout.class_names(labels, probabilities)
        classes = tuple(classes)
        if len(classes) < 2 and not (labels is None and not classes):
            raise ValueError(f"`classes` must name at least two classes; found {list(classes)}.")
        if labels is not None:
            rows = torch.empty(1).expand(len(images), 1) if isinstance(images, OnDisk) else images
            labels = checked_labels(labels, rows, len(classes))
        if probabilities is not None:
            _check_probabilities(probabilities, len(images), len(classes))
        kept = {
            "images": images,
            "labels": labels,
            "classes": classes,
            "probabilities": probabilities,
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # the only way to set fields of a frozen record

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        known = f"{len(self.classes)} classes" if self.classes else "classes not known"
        labelled = known if self.labels is not None else f"no labels, {known}"
        return f"Data({self.name}: {len(self)} images {shape}, {labelled})"

    @property
    def box(self) -> tuple[float, float]:
        """Return the lowest and the highest legal value: `low` and `high` of a `Threat`."""
        return box_of(self.value_range)

    @property
    def is_large(self) -> bool:
        """Return whether the rows lie on disk and are too many to be read all at once."""
        return isinstance(self.images, OnDisk) and self.images.is_large

    def inputs(self, index: slice | Tensor) -> Images:
        """Return the float32 images of some rows, in the value range.

        Args:
            index: a slice, or a tensor of row numbers (`slice(None)` for all rows).
        """
        images = self.images[index]
        if isinstance(self.images, OnDisk):
            images = self._checked(images)
        return images.float() / self.levels if images.dtype == torch.uint8 else images

    def batch(self, index: slice | Tensor) -> tuple[Images, Labels]:
        """Return the float32 images, as `inputs` does, and the labels of some rows.

        Raises:
            ValueError: the data have no labels.
        """
        if self.labels is None:
            raise ValueError(
                f"{self.name} has no labels, and this needs them. Without labels you can certify"
                " and attack (`bracket(..., limits=False)`): the prediction of each row is then its"
                " label. To add labels: dataclasses.replace(data, labels=labels)."
            )
        return self.inputs(index), self.labels[index]

    def take(self, index: slice | Tensor) -> "Data":
        """Return the data set that holds only these rows, in this order."""
        on_disk = isinstance(self.images, OnDisk)
        return replace(
            self,
            images=self.images.take(index) if on_disk else self.images[index],
            labels=None if self.labels is None else self.labels[index],
            probabilities=None if self.probabilities is None else self.probabilities[index],
        )

    def first(self, count: int) -> "Data":
        """Return the first `count` rows."""
        if not 1 <= count <= len(self):
            raise ValueError(f"`count` must lie in [1, {len(self)}], the rows there are: {count}")
        return self.take(slice(count))

    def split(self, count: int, seed: int) -> tuple["Data", "Data"]:
        """Return `count` rows drawn at random without return, and the rest.

        The permutation depends on `seed` and the number of rows alone.
        """
        if not 1 <= count < len(self):
            raise ValueError(f"`count` must lie in [1, {len(self) - 1}], to leave a rest: {count}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[:count]), self.take(order[count:])

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with any pixel, label, vote, shape or scale.

        Of memory-mapped files above `on_disk.MOST_HASHED` bytes the size, the time of the last
        change and the numbers of the rows are hashed in place of the pixels.
        """
        scale = self.levels if self.images.dtype == torch.uint8 else 1
        digest = hashlib.blake2b(f"{tuple(self.images.shape)} {scale}".encode(), digest_size=8)
        if self.is_large:
            digest.update(self.images.identity())
        else:
            for first in range(0, len(self), HASHED_ROWS):
                digest.update(self.images[first : first + HASHED_ROWS].cpu().numpy().tobytes())
        for part in (self.labels, self.probabilities):
            if part is not None:
                digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _checked(self, images: Tensor) -> Tensor:
        """Return images whose values are legal; round-off is moved into the box."""
        low, high = self.box
        _check_values(images, self.levels, low, high)
        smallest, largest = torch.aminmax(images)
        if images.is_floating_point() and not bool((smallest >= low) & (largest <= high)):
            return images.clamp(low, high)
        return images


def _as_images(images: Any) -> "Tensor | OnDisk":
    if isinstance(images, Tensor | OnDisk):
        return images
    if isinstance(images, np.ndarray):
        return layout.images_tensor(images)
    raise ValueError(
        f"`images` must be a tensor or a numpy array; found {type(images).__name__}. A torch"
        " Dataset or DataLoader, a Hugging Face data set or a path is read by surefoot.load(...)."
    )


def _as_labels(labels: Any) -> Tensor | None:
    if labels is None or isinstance(labels, Tensor):
        return labels
    return layout.labels_tensor(np.asarray(labels))


def _as_probabilities(probabilities: Any) -> Tensor | None:
    if probabilities is None or isinstance(probabilities, Tensor):
        return probabilities
    return layout.floats("probabilities", np.asarray(probabilities))


def _check_shape(images: Tensor | OnDisk) -> None:
    found = f"found shape {tuple(images.shape)}, {images.dtype}"
    if images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"`images` must be uint8, or float32 in [0, 1]; {found}. Convert them.")
    if images.numel() == 0:
        raise ValueError(f"`images` must hold at least one image; {found}. The source is empty.")
    if images.ndim < 2:
        raise ValueError(
            f"`images` must be a batch [N, ...]; {found}. One image needs images[None]."
        )
    grid = images.ndim == 4 and images.shape[1] in (1, 3)
    series = images.ndim == 3 and images.shape[1] == 1
    if images.dtype == torch.uint8 and not (images.ndim == 2 or grid or series):
        raise ValueError(
            "uint8 `images` must be [N, planes, H, W] with 1 or 3 planes, [N, 1, L] or [N, D];"
            f" {found}."
            " Planes come before height: x[:, None] adds one, x.permute(0, 3, 1, 2) moves them."
        )


def _check_values(images: Tensor, levels: int, low: float, high: float) -> None:
    smallest, largest = (value.item() for value in torch.aminmax(images))
    if images.dtype == torch.uint8:
        if largest > levels:
            raise ValueError(
                f"uint8 `images` must lie in [0, {levels}]; found max {largest}."
                " `levels` is the integer that means 1.0: 255 for ordinary images."
            )
        return
    finite = math.isfinite(smallest) and math.isfinite(largest)
    inside = smallest >= low - RANGE_TOLERANCE and largest <= high + RANGE_TOLERANCE
    if not (finite and inside):
        raise ValueError(
            f"float `images` must be finite and lie in [{low:g}, {high:g}]; found min"
            f" {smallest:.6g}, max {largest:.6g}. {_remedy(smallest, largest)}"
        )


def _remedy(smallest: float, largest: float) -> str:
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        return "Remove or repair the rows with NaN or infinite pixels."
    other = " Values of another unit need value_range=(low, high), or None for no box."
    if smallest < 0:
        return "This looks like normalised input: put the normalisation inside the model." + other
    return "This looks like pixels from 0 to 255: divide by 255, or keep them as uint8." + other


def _check_probabilities(probabilities: Tensor, count: int, classes: int) -> None:
    if probabilities.dtype != torch.float32 or probabilities.shape != (count, classes):
        raise ValueError(
            f"`probabilities` must be float32 [{count}, {classes}], a row per image and a column"
            f" per class; found shape {tuple(probabilities.shape)}, {probabilities.dtype}."
        )
    wrong = ~((probabilities.sum(1) - 1).abs() <= ROW_SUM_TOLERANCE) | (probabilities < 0).any(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            "rows of `probabilities` must be non-negative and sum to 1; row"
            f" {row} has min {probabilities[row].min():.6g}, sum {probabilities[row].sum():.6g}."
            " Divide vote counts by their row sums."
        )
