"""Turn numpy arrays of any allowed layout into the tensors that `Data` keeps."""

import numpy as np
import torch
from torch import Tensor

PLANES = (1, 3)
MOST_CLASSES = 100_000


def images_tensor(x: np.ndarray) -> Tensor:
    """Turn any allowed layout into uint8 or float32 `[N, C, H, W]`, `[N, D]`, or series as are."""
    check_dtype(x)
    if x.dtype == np.uint8 and x.size and x.max() <= 1:
        raise ValueError(
            f"uint8 `x` means pixels from 0 to 255; found max {x.max()}, an all but black set."
            " Images in [0, 1] need x.astype(np.float32)."
        )
    return arranged(x)


def check_dtype(x: np.ndarray) -> None:
    """Raise unless the array holds bytes or floats."""
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        raise ValueError(
            f"`x` must be uint8, or float in [0, 1]; found shape {x.shape}, {x.dtype}. Pixels from"
            " 0 to 255 need x.astype(np.uint8), features x.astype(np.float32)."
        )


def arranged(x: np.ndarray) -> Tensor:
    """Put the planes first, where there are any."""
    found = f"found shape {x.shape}, {x.dtype}"
    if x.ndim == 3:
        x = x if _is_series(x) else x[:, None]
    elif x.ndim == 4 and _planes_last(x.shape, found):
        x = x.transpose(0, 3, 1, 2)
    elif x.ndim not in (2, 4):
        raise ValueError(
            f"`x` must be (N, H, W), (N, H, W, C), (N, C, H, W), (N, D) or (N, 1, L); {found}."
            " A single image needs x[None]."
        )
    return torch.from_numpy(np.ascontiguousarray(x if x.dtype == np.uint8 else _single(x)))


def labels_tensor(y: np.ndarray) -> Tensor:
    """Turn an array of class indices into a tensor, int64 where they are integers."""
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"`y` must hold integers, the class indices; found shape {y.shape}, {y.dtype}. Class"
            " names belong into `classes`: classes, y = np.unique(names, return_inverse=True)."
        )
    return torch.from_numpy(y.astype(np.int64) if y.dtype.kind in "iu" else y)


def _is_series(x: np.ndarray) -> bool:
    """Distinguish series from grey images: one channel, or floats that make no square."""
    return x.shape[1] == 1 or (x.dtype != np.uint8 and x.shape[1] != x.shape[2])


def _planes_last(shape: tuple[int, ...], found: str) -> bool:
    first, last = shape[1] in PLANES, shape[3] in PLANES
    if first == last:
        cause = "both fit, so the layout is ambiguous" if first else "neither axis fits"
        raise ValueError(
            "`x` with four axes must have 1 or 3 planes, as axis 1 (N, C, H, W) or as axis 3"
            f" (N, H, W, C); {found}: {cause}. Flatten to (N, D), or keep grey or RGB alone."
        )
    return last


def class_names(labels: Tensor | None, probabilities: Tensor | None) -> tuple[str, ...]:
    """Number the classes that the rows show; () where there is neither label nor vote."""
    if probabilities is not None and probabilities.ndim == 2:
        return tuple(str(index) for index in range(probabilities.shape[1]))
    count = 0 if labels is None else _count(labels)
    if count > MOST_CLASSES:
        raise ValueError(
            f"`y` names class {count - 1}; without `classes` at most {MOST_CLASSES} are expected."
            " Count classes from 0, or name them in an array `classes`."
        )
    return tuple(str(index) for index in range(count))


def _count(labels: Tensor) -> int:
    """Count the classes; of labels that are no indices so many that the check of `Data` names."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.shape[1]
    whole = labels.numel() > 0 and labels.dtype == torch.int64
    return max(int(labels.max()) + 1, 1) if whole else 2


def names(values: np.ndarray) -> tuple[str, ...]:
    """Read class names; bytes are UTF-8."""
    try:
        return tuple(
            name.decode() if isinstance(name, bytes) else str(name) for name in values.ravel()
        )
    except UnicodeDecodeError as error:
        raise ValueError(
            f"class names in bytes must be UTF-8; found {error.object!r}. Write them as text:"
            " classes=np.array(['first', 'second'])."
        ) from error


def floats(name: str, values: np.ndarray) -> Tensor:
    """Turn an array of floats into a float32 tensor."""
    if values.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must be float; found shape {values.shape}, {values.dtype}."
            " Divide vote counts by their row sums."
        )
    return torch.from_numpy(_single(values))


def _single(values: np.ndarray) -> np.ndarray:
    # What is too large for float32 becomes infinite, and the check of the range names it.
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
