"""How the tables of Pagliardini et al. 2022 are written: settings of recipes, published figures."""

from collections.abc import Sequence
from typing import Any

from surefoot.papers.experiment import Row
from surefoot.threat import Threat
from surefoot.training import Recipe, make_recipe

ORIGIN = {"start": "origin"}
"""PGD of the paper starts at the image itself."""
SOFT = {"weight": 1.0, "form": "soft-cross-entropy"}
"""TRADES of the paper's tables."""
STANDARD = Row("standard", make_recipe("standard"))


def linf(name: str, eps: float, step_size: float, steps: int, **options: Any) -> Recipe:
    """Return a recipe as the paper writes its settings: eps / step_size / steps."""
    return make_recipe(
        name, threat=Threat("linf", eps), steps=steps, step_size=step_size, **options
    )


def rows(figures: str, *lines: tuple[str, Recipe, Sequence[float | None]]) -> tuple[Row, ...]:
    """Return the rows of a table.

    Args:
        figures: names of the columns, separated by commas.
        lines: name, recipe, published percentages; None where the paper has no figure.
    """
    names = figures.split(", ")
    return tuple(
        Row(
            name,
            recipe,
            {
                figure: round(value / 100, 4)
                for figure, value in zip(names, percentages, strict=True)
                if value is not None
            },
        )
        for name, recipe, percentages in lines
    )
