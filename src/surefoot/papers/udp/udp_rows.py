"""How the tables of Pagliardini et al. 2022 are written: settings of recipes, published figures."""

import csv
from pathlib import Path
from typing import Any

from surefoot.papers.accuracy_table import TRADE_OFF
from surefoot.papers.experiment import Row
from surefoot.threat import Threat
from surefoot.training import Recipe, make_recipe

SOFT = {"weight": 1.0, "form": "soft-cross-entropy"}
"""TRADES of the paper's tables."""
OPTIONS: dict[str, dict[str, Any]] = {"pgd": {"start": "origin"}, "trades": SOFT}
"""PGD of the paper starts at the image itself."""
STANDARD = Row("standard", make_recipe("standard"))


def linf(name: str, eps: float, step_size: float, steps: int, **options: Any) -> Recipe:
    """Return a recipe as the paper writes its settings: eps / step_size / steps."""
    return make_recipe(
        name, threat=Threat("linf", eps), steps=steps, step_size=step_size, **options
    )


def rows(table: str) -> tuple[Row, ...]:
    """Return the rows of a table: settings of the recipe, and percentages.

    `published.csv` has the settings and the accuracies, `trade_offs.csv` the rows that were chosen
    for their trade-off. Clean accuracies of CIFAR-10 and SVHN, and the attacked ones of "udp .3",
    are arithmetic: 2 * trade-off - the other.
    """
    chosen = {line.pop("row"): line for line in _lines("trade_offs.csv", table)}
    return tuple(_row(line, chosen.get(line["row"], {})) for line in _lines("published.csv", table))


def _lines(file: str, table: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(file).open(encoding="utf-8") as opened:
        return [line for line in csv.DictReader(opened) if line.pop("table") == table]


def _row(line: dict[str, str], chosen: dict[str, str]) -> Row:
    name, method, layer = line.pop("row"), line.pop("recipe"), line.pop("layer")
    settings = float(line.pop("eps")), float(line.pop("step_size")), int(line.pop("steps"))
    space = {"layer": layer, "unit": "absolute"} if layer else {}
    recipe = linf(method, *settings, **space, **OPTIONS.get(method, {}))
    rate = line.pop("learning_rate")
    figures = line | {f"{TRADE_OFF}{figure}": value for figure, value in chosen.items()}
    published = {name: round(float(value) / 100, 4) for name, value in figures.items() if value}
    return Row(name, recipe, published, training={"learning_rate": float(rate)} if rate else {})
