"""Bisection of many intervals at once; every caller rounds by the end that it takes."""

from collections.abc import Callable

import torch
from torch import Tensor


def bisection(
    low: Tensor | float,
    high: Tensor | float,
    passes: Callable[[Tensor], Tensor | bool],
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Halve intervals between a point that passes and one that does not.

    Args:
        low: ends that pass, any shape; a number for a single interval, in float64.
        high: ends that do not.
        passes: which of the middles do.
        steps: how often to halve.

    Returns:
        the last ends that passed, and the last that did not.

    Example:
        >>> low, high = bisection(0.0, 1.0, lambda x: x * x < 0.5, 20)
        >>> f"{low:.4f}"
        '0.7071'
    """
    low, high = (
        end if isinstance(end, Tensor) else torch.tensor(end, dtype=torch.float64)
        for end in (low, high)
    )
    for _ in range(steps):
        middle = (low + high) / 2
        passed = torch.as_tensor(passes(middle))
        low, high = torch.where(passed, middle, low), torch.where(passed, high, middle)
    return low, high
