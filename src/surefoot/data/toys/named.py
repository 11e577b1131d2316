"""Toys with a name: one draw a split, train with seed 0 and test with seed 1."""

from dataclasses import replace

from surefoot.data.dataset import Data
from surefoot.data.toys import corridor
from surefoot.data.toys.crescents import crescents as four_crescents
from surefoot.data.toys.slabs import slabs

SEEDS = {"train": 0, "test": 1}
CURVED = {"half_gaps": (0.04, 0.45), "bend": 0.25}


def narrow_corridor(split: str) -> Data:
    """Return 600 points beside a straight corridor, half-gap 0.05 to 0.5."""
    return corridor.narrow_corridor(600, seed=SEEDS[split])


def s_corridor(split: str) -> Data:
    """Return 240 points beside an S-shaped corridor, half-gap 0.04 to 0.45."""
    return corridor.narrow_corridor(240, seed=SEEDS[split], **CURVED)


def two_distance(split: str) -> Data:
    """Return 200 points, half-gaps 0.05 and 0.6."""
    return corridor.two_distance(200, seed=SEEDS[split])


def crescents(split: str) -> Data:
    """Return 400 points of four crescents that touch."""
    return four_crescents(400, seed=SEEDS[split])


def lms_5(split: str) -> Data:
    """Return 400 points with one linear and one five-slab coordinate, margins 0.1."""
    return replace(slabs(400, (1, 5), seed=SEEDS[split]), name="lms-5")


def lms_5_50d(split: str) -> Data:
    """Return 20,000 train or 10,000 test points with one linear and 49 five-slab coordinates."""
    count = {"train": 20_000, "test": 10_000}[split]
    return replace(slabs(count, (1, *[5] * 49), seed=SEEDS[split]), name="lms-5-50d")


def ms_5_7(split: str) -> Data:
    """Return 20,000 train or 10,000 test points with a five-slab and a seven-slab coordinate."""
    count = {"train": 20_000, "test": 10_000}[split]
    return replace(slabs(count, (5, 7), seed=SEEDS[split]), name="ms-5-7")
