"""Unions of half-spaces: membership, and the expansion in closed form."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surefoot.types import Points

Inside = Bool[Tensor, "N"]
Offsets = Float[Tensor, "T"]

ROWS = 1024
"""Points measured at once, so that memory does not grow with their number."""

DUAL = {"l2": 2.0, "linf": 1.0}
"""How far w moves w.x within a ball of radius one: by its dual norm."""


@dataclass(frozen=True)
class HalfSpaces:
    r"""The union of closed half-spaces.

    $$ E = \bigcup_t \{x : w_t \cdot x \le b_t\} $$

    Attributes:
        normals: float64, one w a row.
        offsets: one b for each normal.
        norm: of the expansion.
    """

    normals: Float[Tensor, "T D"]
    offsets: Offsets
    norm: Literal["l2", "linf"]

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; products in float64, a NaN lies outside."""
        return torch.cat([self._inside(block) for block in points.split(ROWS)])

    def expand(self, eps: float) -> "HalfSpaces":
        r"""Return all points within `eps` of the region, exactly.

        $$ \{w \cdot x \le b\}_\varepsilon = \{w \cdot x \le b + \varepsilon \lVert w \rVert_q\} $$
        q = 2 for l2, 1 for linf.
        """
        lengths = torch.linalg.vector_norm(self.normals, DUAL[self.norm], dim=1)
        return replace(self, offsets=self.offsets + eps * lengths)

    def _inside(self, block: Tensor) -> Tensor:
        return (block.double() @ self.normals.T <= self.offsets).any(1)
