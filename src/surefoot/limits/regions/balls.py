"""Unions of norm balls: membership, and the expansion in closed form.

A ball in l2 is the family "balls", a ball in linf the family "cubes". Not here: how a region is
found.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surefoot.types import Points

Radii = Float[Tensor, "T"]
Inside = Bool[Tensor, "N"]

ROWS = 1024
"""Points measured at once, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Balls:
    r"""The union of closed balls around `centres`.

    $$ E = \bigcup_t \{x : \lVert x - u_t \rVert \le r_t\} $$

    Attributes:
        centres: float64, flat points.
        radii: one for each centre.
        norm: "l2" (balls) or "linf" (cubes).
    """

    centres: Float[Tensor, "T D"]
    radii: Radii
    norm: Literal["l2", "linf"]

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; distances in float64, a NaN lies outside."""
        return torch.cat([self._inside(block) for block in points.split(ROWS)])

    def expand(self, eps: float) -> "Balls":
        r"""Return all points within `eps` of the region, exactly.

        $$ \mathrm{Ball}(u, r)_\varepsilon = \mathrm{Ball}(u, r + \varepsilon) $$
        """
        return replace(self, radii=self.radii + eps)

    def _inside(self, block: Tensor) -> Tensor:
        order = 2 if self.norm == "l2" else torch.inf
        inside = torch.zeros(len(block), dtype=torch.bool, device=block.device)
        for centre, radius in zip(self.centres, self.radii, strict=True):
            inside |= torch.linalg.vector_norm(block.double() - centre, order, dim=1) <= radius
        return inside
