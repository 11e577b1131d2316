"""The families of regions by name: which norms they know, and how one is found."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from surefoot.limits import balls, half_spaces, rectangles
from surefoot.limits.goal import Goal
from surefoot.limits.regions import Fit


class _Family(NamedTuple):
    norms: tuple[str, ...]
    prepare: Callable[[Tensor, Tensor, Goal], Fit]  # (points [N, D], float64 uncertainty [N], goal)


FAMILIES = {
    "balls": _Family(("l2",), balls.prepare),
    "cubes": _Family(("linf",), balls.prepare),
    "rectangles": _Family(("linf",), rectangles.prepare),
    "half-spaces": _Family(("l2", "linf"), half_spaces.prepare),
}


CENTRED = ("balls", "cubes")
"""Families whose components are grown around points."""


def fitting(norm: str) -> list[str]:
    """Return the families that expand in closed form under the norm; the authors' own first."""
    return [name for name, family in FAMILIES.items() if norm in family.norms]


def choose(family: str, norm: str) -> str:
    """Return the family of that name; raise unless it has a closed form for the norm."""
    if family == "default":
        return fitting(norm)[0]
    if family not in FAMILIES:
        raise ValueError(f"`family` must be one of {', '.join(FAMILIES)}; found {family!r}")
    if norm not in FAMILIES[family].norms:
        raise ValueError(
            f"`family` {family!r} has no closed expansion under norm {norm!r}; take one of"
            f" {', '.join(fitting(norm))}"
        )
    return family
