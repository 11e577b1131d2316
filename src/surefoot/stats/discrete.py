r"""Gaussian noise rounded to whole numbers, drawn by comparing integers.

Voracek, Hein 2023. Floating-point noise added to floating-point pixels is not Gaussian, and a
certificate that assumes so can be false. Where images sit on a grid (8-bit pixels), rounding the
noisy image to the grid is part of the classifier, and its noise is the whole number J with
$$ P(|J| \ge j) = 2 \Phi(-(j - 1/2) / s), \quad j \ge 1 $$
s = sigma in steps of the grid. J is found by comparing 63 random bits with tabulated thresholds:
no rounding happens after the table, and the table's error is bounded (`tv_error`).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from surefoot.streams import bits

SPAN = 9.0
"""Deviations that the table spans; what lies outside is part of `tv_error`."""
ACCURACY = 1e-13
"""Relative error of Phi in its lower tail, with a margin."""
CELL = 47
"""Bits below the 16 that index the lookup table; where these do not suffice, all are compared."""


class _Distribution(NamedTuple):
    thresholds: np.ndarray  # |J| >= j iff the 63 bits lie below thresholds[j - 1], decreasing
    lookup: np.ndarray  # |J| by the first 16 of 63 bits
    ambiguous: np.ndarray  # cells in which a threshold lies


def rounded_normal(shape: tuple[int, ...], scale: float, *key: int) -> Tensor:
    """Draw round(scale z), z standard normal, from the stream of the key: int32 on the CPU."""
    found, raw = _distribution(scale), bits(shape, *key)
    value = raw >> np.uint64(1)
    cells = value >> np.uint64(CELL)
    size = found.lookup[cells]
    ambiguous = found.ambiguous[cells]
    # Thresholds decrease, so the number of them above a value is found in the reversed table.
    rising = found.thresholds[::-1]
    size[ambiguous] = len(rising) - np.searchsorted(rising, value[ambiguous], side="right")
    negative = (raw & np.uint64(1)).astype(bool)
    np.negative(size, out=size, where=negative)
    return torch.from_numpy(size)


def tv_error(scale: float, pixels: int) -> float:
    """Bound the total variation between the drawn noise of so many pixels and its distribution."""
    found, tails = _distribution(scale), ndtr(-(np.arange(1, _size(scale) + 1) - 0.5) / scale)
    each = 2 * ACCURACY * tails.sum() + 2.0**-62 * len(found.thresholds)
    return float(pixels * (each + 2 * ndtr(-(_size(scale) + 0.5) / scale)))


def _size(scale: float) -> int:
    return int(np.ceil(SPAN * scale)) + 1


@lru_cache(maxsize=16)
def _distribution(scale: float) -> _Distribution:
    if not 0 < scale < 1e6:
        raise ValueError(f"`scale` must lie between 0 and a million steps; found {scale}")
    tails = ndtr(-(np.arange(1, _size(scale) + 1) - 0.5) / scale)
    thresholds = np.floor(np.ldexp(tails, 64)).astype(np.uint64)
    starts = np.arange(2**16, dtype=np.uint64) << np.uint64(CELL)
    ends = starts + np.uint64(2**CELL - 1)
    rising = thresholds[::-1]
    first = len(rising) - np.searchsorted(rising, starts, side="right")
    last = len(rising) - np.searchsorted(rising, ends, side="right")
    return _Distribution(thresholds, first.astype(np.int32), first != last)
