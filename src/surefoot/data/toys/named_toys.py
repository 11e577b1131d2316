"""Toys with a name: one draw a split, train with seed 0 and test with seed 1."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from surefoot.data.dataset import Data
from surefoot.data.toys.corridor import narrow_corridor, two_distance
from surefoot.data.toys.crescents import crescents
from surefoot.data.toys.slabs import slabs

SEEDS = {"train": 0, "test": 1}


S_SHAPE = {"half_gaps": (0.04, 0.45), "bend": 0.25}
TOYS: dict[str, tuple[Callable[..., Data], int, int]] = {
    "narrow-corridor": (narrow_corridor, 600, 600),
    "s-corridor": (partial(narrow_corridor, **S_SHAPE), 240, 240),
    "crescents": (crescents, 400, 400),
    "two-distance": (two_distance, 200, 200),
    "lms-5": (partial(slabs, kinds=(1, 5)), 400, 400),
    "lms-5-50d": (partial(slabs, kinds=(1, *[5] * 49)), 20_000, 10_000),
    "ms-5-7": (partial(slabs, kinds=(5, 7)), 20_000, 10_000),
}
"""Name -> how it is drawn, and how many points of train and of test."""


def load(split: str, name: str) -> Data:
    """Return one split of a toy with a name."""
    draw, train, test = TOYS[name]
    return replace(draw(train if split == "train" else test, seed=SEEDS[split]), name=name)
