"""Toy data whose answers can be seen or computed; one file a family, plain functions with seeds.

All lie in the box [0, 1]^D of images: 0 goes to the middle, one unit of the papers to `UNIT` of the
box, so that a radius of 0.3 there is `0.3 * UNIT` here. Pagliardini et al. publish neither
coordinates nor nets of their toys; the shapes are theirs, the numbers ours.
"""

from surefoot.data.toys import named_toys
from surefoot.data.toys.box import UNIT, boxed
from surefoot.data.toys.corridor import narrow_corridor, two_distance
from surefoot.data.toys.crescents import CRESCENT_UNIT, crescents
from surefoot.data.toys.joined import joined
from surefoot.data.toys.moons import moons
from surefoot.data.toys.slabs import SlabVariant, slabs

__all__ = [
    "CRESCENT_UNIT",
    "UNIT",
    "SlabVariant",
    "boxed",
    "crescents",
    "joined",
    "moons",
    "named_toys",
    "narrow_corridor",
    "slabs",
    "two_distance",
]
