"""Hold one split of a labelled data set in memory, checked once.

Every source of this package returns a `Data`. Not here: augmentation, loaders, devices.
"""

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surefoot.types import RANGE_TOLERANCE, Images, Labels, checked_labels

ROW_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Data:
    """Keep images, labels and class names; the rows stay in the order of the source.

    Attributes:
        name: how records call the data set.
        images: uint8 `[N, planes, H, W]`, `[N, 1, L]` or `[N, D]`, or float32 in [0, 1] with any
            trailing shape; what round-off left outside by 1e-6 is moved to 0 or 1.
        labels: class indices from 0, `[N]` or `[N, 1]` of any integer type; kept as int64 `[N]`.
        classes: one name per class.
        levels: the integer that means 1.0 in uint8 images.
        probabilities: float32 `[N, C]`, the fraction of human votes for each class, where known.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    levels: int = 255
    probabilities: Tensor | None = None

    def __post_init__(self) -> None:
        _check_shape(self.images)
        _check_values(self.images, self.levels)
        if len(self.classes) < 2:
            raise ValueError(
                f"`classes` must name at least two classes; found {list(self.classes)}."
            )
        labels = checked_labels(self.labels, self.images, len(self.classes))
        object.__setattr__(self, "labels", labels)  # the only way to set a field of a frozen record
        if self.images.is_floating_point() and not _inside(self.images):
            object.__setattr__(self, "images", self.images.clamp(0, 1))
        if self.probabilities is not None:
            _check_probabilities(self.probabilities, len(self.images), len(self.classes))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"Data({self.name}: {len(self)} images {shape}, {len(self.classes)} classes)"

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: slice | Tensor) -> tuple[Images, Labels]:
        """Return the float32 images in [0, 1] and the labels of some rows.

        Args:
            index: a slice, or a tensor of row numbers (`slice(None)` for all rows).
        """
        images = self.images[index]
        if images.dtype == torch.uint8:
            images = images.float() / self.levels
        return images, self.labels[index]

    def take(self, index: slice | Tensor) -> "Data":
        """Return the data set that holds only these rows, in this order."""
        probabilities = None if self.probabilities is None else self.probabilities[index]
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            probabilities=probabilities,
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
        """Return 16 hex digits that change with any pixel, label, vote, shape or scale."""
        scale = self.levels if self.images.dtype == torch.uint8 else 1
        digest = hashlib.blake2b(f"{tuple(self.images.shape)} {scale}".encode(), digest_size=8)
        digest.update(self.images.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        if self.probabilities is not None:
            digest.update(self.probabilities.cpu().numpy().tobytes())
        return digest.hexdigest()


def _check_shape(images: Tensor) -> None:
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


def _inside(images: Tensor) -> bool:
    smallest, largest = torch.aminmax(images)
    return bool((smallest >= 0) & (largest <= 1))


def _check_values(images: Tensor, levels: int) -> None:
    if not 1 <= levels <= 255:
        raise ValueError(f"`levels` must lie in [1, 255], the integer that means 1.0: {levels}")
    smallest, largest = (value.item() for value in torch.aminmax(images))
    if images.dtype == torch.uint8:
        if largest > levels:
            raise ValueError(
                f"uint8 `images` must lie in [0, {levels}]; found max {largest}."
                " `levels` is the integer that means 1.0: 255 for ordinary images."
            )
    elif not (smallest >= -RANGE_TOLERANCE and largest <= 1 + RANGE_TOLERANCE):
        raise ValueError(
            f"float `images` must be finite and lie in [0, 1]; found min {smallest:.6g},"
            f" max {largest:.6g}. {_remedy(smallest, largest)}"
        )


def _remedy(smallest: float, largest: float) -> str:
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        return "Remove or repair the rows with NaN or infinite pixels."
    if smallest < 0:
        return "This looks like normalised input: put the normalisation inside the model."
    return "This looks like pixels from 0 to 255: divide by 255, or keep them as uint8."


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
