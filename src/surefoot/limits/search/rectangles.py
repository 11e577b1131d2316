"""Search for the complement of a union of rectangles around the dense part of the points.

Mahloujifar, Zhang, Mahmoody, Evans, NeurIPS 2019, Algorithm 1.
"""

import torch
from torch import Tensor

from surefoot.limits.goal import Fit, Goal
from surefoot.limits.regions import Rectangles
from surefoot.streams import generator

NEIGHBOUR = 50
"""The density of a point is told by its l1 distance to this neighbour."""

REFERENCES = 5000
"""Points that densities are measured against, at most; of fewer, a nearer neighbour counts."""

ITERATIONS = 30
"""Of k-means, at most."""

PRECISION = 0.005
"""The kept share is found to this precision."""

SLACK = 1e-9
"""Rectangles end this much beyond their outermost point, so that round-off leaves it inside."""

ROWS = 256
"""Points measured at once."""


def prepare(points: Tensor, uncertainty: Tensor, goal: Goal, seed: int = 0) -> Fit:
    """Sort the points by density once; give a bisection over the fraction that is kept.

    The densest share is clustered by k-means in l1; each cluster becomes the smallest rectangle
    centred at its mean; what lies outside of all rectangles grown by eps is the region. Its
    expansion lies outside of the rectangles themselves. Memory: the points twice.

    Of the fractions tried, the one of least expansion with enough risk and label uncertainty wins:
    dense points are left out whatever their uncertainty, so a large `gamma` is out of reach. The
    whole region counts as one component.
    """
    points = points.float()
    dense = _rarity(points, seed).argsort(stable=True)

    def fit(goal: Goal) -> Rectangles | None:
        best, least = None, len(points) + 1
        low, high = 0.0, 1.0
        while high - low > PRECISION:
            kept = (low + high) / 2
            region = _around(points[dense[: int(kept * len(points))]], goal, seed)
            inside = region.contains(points)
            if int(inside.sum()) < goal.budget(len(points)):
                high = kept
                continue
            low = kept
            reached = int(region.expand(goal.eps).contains(points).sum())
            if reached < least and uncertainty[inside].mean() >= goal.gamma:
                best, least = region, reached
        return best

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


def _around(kept: Tensor, goal: Goal, seed: int) -> Rectangles:
    """Put a rectangle around each cluster and grow it by eps; no points, no rectangle."""
    sides = kept.new_zeros(0, kept.shape[1], dtype=torch.float64)
    if len(kept) == 0:
        return Rectangles(sides, sides)
    owner = _clusters(kept, goal.components, seed)
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
