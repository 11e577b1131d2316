"""Complements of unions of rectangles, and a search for one around the dense part of the points.

The search: Mahloujifar, Zhang, Mahmoody, Evans, NeurIPS 2019, Algorithm 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.limits.goal import Goal
from surefoot.limits.regions import Fit, Inside, by_blocks
from surefoot.stats import bisection
from surefoot.streams import generator
from surefoot.types import Points

NEIGHBOUR = 50
"""The l1 distance of a point to this neighbour measures how rare it is."""

REFERENCES = 5000
"""Points that densities are measured against, at most; of fewer, a nearer neighbour counts."""

ITERATIONS = 30
"""Of k-means, at most."""

STEPS = 8
"""Of the bisection: the fraction that is kept is found to 1/256."""

SLACK = 1e-9
"""Rectangles end this much behind their outermost point, so that round-off leaves it inside."""

ROWS = 256
"""Points measured at once."""


@dataclass(frozen=True)
class Rectangles:
    r"""All points outside of every closed rectangle; a rectangle with low > high is empty.

    $$ E = \{x : \forall t\ \exists i : x_i < \mathrm{low}_{ti} \text{ or } x_i >
    \mathrm{high}_{ti}\} $$

    Attributes:
        low: least corners, float64.
        high: greatest corners.
    """

    low: Float[Tensor, "T D"]
    high: Float[Tensor, "T D"]

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; compared in float64, a NaN lies inside."""
        return by_blocks(self._outside, points)

    def expand(self, eps: float) -> "Rectangles":
        r"""Return a region that holds all points within `eps` (linf) of this one.

        The rectangles shrink by eps on every side. Exact for one rectangle. For several it is an
        upper bound: $[0, 1]$ and $[1, 2]$ shrink to $[.2, .8]$ and $[1.2, 1.8]$, but no point of
        the region lies within .2 of 1.
        """
        return Rectangles(self.low + eps, self.high - eps)

    def _outside(self, block: Tensor) -> Tensor:
        block = block.double()
        outside = torch.ones(len(block), dtype=torch.bool, device=block.device)
        for low, high in zip(self.low, self.high, strict=True):
            outside &= ~((block >= low) & (block <= high)).all(1)
        return outside


def prepare(points: Tensor, uncertainty: Tensor, goal: Goal) -> Fit:
    """Sort the points by density once; return a bisection over the fraction that is kept.

    The densest fraction is clustered by k-means in l1; each cluster becomes the smallest rectangle
    centred at its mean; what lies outside of all rectangles grown by eps is the region. Its
    expansion lies outside of the rectangles themselves. Memory: the points twice.

    Of the fractions tried, the one of least expansion with enough risk and label uncertainty wins:
    dense points are left out whatever their uncertainty, so a large `gamma` is out of reach. The
    whole region counts as one component.
    """
    points = points.float()
    dense = _rarity(points, goal.seed).argsort(stable=True)

    def fit(goal: Goal) -> Rectangles | None:
        found: list[tuple[int, Rectangles]] = []

        def enough(kept: Tensor) -> bool:
            region = _around(points[dense[: int(kept * len(points))]], goal)
            inside = region.contains(points)
            if int(inside.sum()) < goal.budget(len(points)):
                return False
            if uncertainty[inside].mean() >= goal.gamma:
                found.append((int(region.expand(goal.eps).contains(points).sum()), region))
            return True

        bisection(0.0, 1.0, enough, STEPS)
        return min(found, key=lambda one: one[0])[1] if found else None

    return fit


def _rarity(points: Tensor, seed: int) -> Tensor:
    """Return the l1 distance of each point to its 50th neighbour, the point itself not counted."""
    chosen = torch.randperm(len(points), generator=generator(seed, 2))[:REFERENCES]
    others = points[chosen.to(points.device)]
    place = max(1, round(NEIGHBOUR * len(others) / len(points)))
    # A point of the references meets itself at distance 0: one more.
    place = min(place + 1, len(others))
    blocks = (torch.cdist(block, others, p=1) for block in points.split(ROWS))
    return torch.cat([block.kthvalue(place, 1).values for block in blocks])


def _around(kept: Tensor, goal: Goal) -> Rectangles:
    """Put a rectangle around each cluster and grow it by eps; no points, no rectangle."""
    sides = kept.new_zeros(0, kept.shape[1], dtype=torch.float64)
    if len(kept) == 0:
        return Rectangles(sides, sides)
    owner = _clusters(kept, goal.components, goal.seed)
    lows, highs = [], []
    for cluster in owner.unique().tolist():
        members = kept[owner == cluster].double()
        centre = members.mean(0)
        half = (members - centre).abs().amax(0) + SLACK + goal.eps
        lows.append(centre - half)
        highs.append(centre + half)
    return Rectangles(torch.stack(lows), torch.stack(highs))


def _clusters(points: Tensor, count: int, seed: int) -> Tensor:
    """Return the cluster of each point by k-means in l1 from random points; some may be empty."""
    start = torch.randperm(len(points), generator=generator(seed, 3))[:count]
    centres = points[start.to(points.device)]
    owner = torch.full((len(points),), -1, device=points.device)
    for _ in range(ITERATIONS):
        nearest = torch.cdist(points, centres, p=1).argmin(1)
        if torch.equal(nearest, owner):
            break
        owner = nearest
        sums = torch.zeros_like(centres).index_add_(0, owner, points)
        sizes = owner.bincount(minlength=len(centres)).unsqueeze(1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return owner
