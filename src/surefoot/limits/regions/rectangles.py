"""The complement of a union of hyperrectangles: membership, and a bound on the expansion."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surefoot.types import Points

Inside = Bool[Tensor, "N"]
Corners = Float[Tensor, "T D"]

ROWS = 1024
"""Points measured at once, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Rectangles:
    r"""All points outside of every closed rectangle; a rectangle with low > high is empty.

    $$ E = \{x : \forall t\ \exists i : x_i < \mathrm{low}_{ti} \text{ or } x_i >
    \mathrm{high}_{ti}\} $$

    Attributes:
        low: least corners, float64.
        high: greatest corners.
    """

    low: Corners
    high: Corners

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; compared in float64, a NaN lies inside."""
        return torch.cat([self._outside(block.double()) for block in points.split(ROWS)])

    def expand(self, eps: float) -> "Rectangles":
        r"""Return a region that holds all points within `eps` (linf) of this one.

        The rectangles shrink by eps on every side. Exact for one rectangle. For several it is an
        upper bound: $[0, 1]$ and $[1, 2]$ shrink to $[.2, .8]$ and $[1.2, 1.8]$, but no point of
        the region lies within .2 of 1.
        """
        return Rectangles(self.low + eps, self.high - eps)

    def _outside(self, block: Tensor) -> Tensor:
        outside = torch.ones(len(block), dtype=torch.bool, device=block.device)
        for low, high in zip(self.low, self.high, strict=True):
            outside &= ~((block >= low) & (block <= high)).all(1)
        return outside
