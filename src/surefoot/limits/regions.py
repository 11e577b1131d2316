"""What the families of regions share: the interface of a region, and a greedy search for one.

Not here: the families, one file each.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from surefoot.limits.goal import Goal
from surefoot.types import Points

Inside = Bool[Tensor, "N"]

ROWS = 1024
"""Points compared with a region at once, so that memory does not grow with their number."""

IMPOSSIBLE = torch.iinfo(torch.int32).max
"""The cost of a component that must not be taken."""


@runtime_checkable
class Region(Protocol):
    """A set of points whose expansion has a closed form."""

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region, compared in float64."""
        ...

    def expand(self, eps: float) -> "Region":
        """Return a region that holds all points within `eps` of this one."""
        ...


Fit = Callable[[Goal], Region | None]
"""Find a region on points that were prepared once; only gamma, components, delta and constraint may
differ from the goal they were prepared for. None: out of reach."""


@dataclass(frozen=True)
class Covered:
    """The components found so far, and the points that they leave open."""

    uncovered: Inside
    unexpanded: Inside
    components: tuple[Any, ...] = ()

    @property
    def covered(self) -> int:
        """Count the points in the region."""
        return int((~self.uncovered).sum())

    @property
    def expanded(self) -> int:
        """Count the points in its expansion."""
        return int((~self.unexpanded).sum())


def least_expanded(tried: Iterable[Covered], needed: int) -> Covered | None:
    """Return the cover of least expansion among those of enough points; None if none has them."""
    reached = [end for end in tried if end.covered >= needed]
    return min(reached, key=lambda end: end.expanded, default=None)


def by_blocks(inside: Callable[[Tensor], Inside], points: Points) -> Inside:
    """Compare points with a region, some at a time."""
    return torch.cat([inside(block) for block in points.split(ROWS)])


def running_sums(values: Tensor, order: Tensor) -> Tensor:
    """Sum `values` [N] along each row of `order` [B, M]; column j holds the sum of the first j."""
    ordered = values.index_select(0, order.flatten()).view(order.shape)
    return torch.nn.functional.pad(ordered.cumsum(1, dtype=values.dtype), (1, 0))


def sorted_rows(values: Tensor) -> Tensor:
    """Sort each row; numpy's sort is many times as fast as torch's on a CPU."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(1).values
