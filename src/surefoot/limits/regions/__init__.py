"""Families of regions: who is inside, and the expansion in closed form.

Each has `contains(points)` and `expand(eps)`. Not here: how a region is found (`limits.search`).
"""

from surefoot.limits.regions.balls import Balls
from surefoot.limits.regions.half_spaces import HalfSpaces
from surefoot.limits.regions.rectangles import Rectangles

Region = Balls | HalfSpaces | Rectangles

__all__ = ["Balls", "HalfSpaces", "Rectangles", "Region"]
