"""The families of regions by name: which norms they know, and how one is found."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from surefoot.limits.goal import Fit, Goal
from surefoot.limits.search import balls, half_spaces, rectangles

Family = Literal["balls", "cubes", "rectangles", "half-spaces"]

Prepare = Callable[[Tensor, Tensor, Goal, int], Fit]
"""(points `[N, D]`, uncertainty `[N]` in float64, goal, seed) -> search."""


class _Entry(NamedTuple):
    norms: tuple[str, ...]
    prepare: Prepare


FAMILIES: dict[Family, _Entry] = {
    "balls": _Entry(("l2",), balls.prepare),
    "cubes": _Entry(("linf",), balls.prepare),
    "rectangles": _Entry(("linf",), rectangles.prepare),
    "half-spaces": _Entry(("l2", "linf"), half_spaces.prepare),
}

DEFAULTS: dict[str, Family] = {"l2": "balls", "linf": "cubes"}


def fitting(norm: str) -> list[Family]:
    """Return the families that expand in closed form under the norm."""
    return [name for name, entry in FAMILIES.items() if norm in entry.norms]


def choose(family: Family | None, norm: str) -> Family:
    """Fill in the family of the authors for the norm; refuse one without a closed form for it."""
    if family is None:
        return DEFAULTS[norm]
    if family not in FAMILIES:
        raise ValueError(f"`family` must be one of {', '.join(FAMILIES)}; found {family!r}")
    if norm not in FAMILIES[family].norms:
        raise ValueError(
            f"`family` {family!r} has no closed expansion under norm {norm!r}; take one of"
            f" {', '.join(fitting(norm))}"
        )
    return family
