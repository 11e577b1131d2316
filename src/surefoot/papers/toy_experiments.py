"""Toys in the plane, where accuracy, margins and boundaries are known exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd

from surefoot.data import Data, load
from surefoot.models import build
from surefoot.papers.drawing.boundary_figures import boundary_grid, oscillation_grid
from surefoot.papers.experiment import (
    Outcome,
    Published,
)
from surefoot.papers.results import kept
from surefoot.papers.toys.suite import Cell, panel, panels, run
from surefoot.progress import track
from surefoot.streams import own_randomness
from surefoot.training import Recipe, Training, fit, make_recipe
from surefoot.uncertainty.due import DUE

FIGURES = {"accuracy": "accuracy", "ratio": "smallest margin", "efficiency": "margin efficiency"}


def plane(
    folder: Path,
    seed: int,
    *,
    cells: Sequence[Cell],
    drawn: Sequence[Cell],
    seeds: int = 5,
    updates: int = 0,
) -> Outcome:
    """Train every cell with several seeds; intervals span the seeds.

    Args:
        folder: keeps the figures of each cell, so that a killed run goes on.
        seed: the first one.
        cells: toys and recipes.
        drawn: cells whose boundaries and oscillations are drawn.
        seeds: how many.
        updates: of the weights; 0 takes those of each toy.
    """
    compared = []
    for cell in track(cells, "toys", len(cells)):
        how = {"seeds": range(seed, seed + seeds), "updates": updates}
        found = kept(
            folder / "cells",
            {**asdict(cell), "first": seed, "seeds": seeds, "updates": updates},
            lambda cell=cell, how=how: run([cell], **how).to_dict("records"),
        )
        frame = pd.DataFrame(found)
        row = f"{cell.method} {cell.eps:g}" if cell.eps else cell.method
        for column, name in FIGURES.items():
            values, figure = frame[column], f"{cell.toy}: {name}"
            ours, low, high = values.mean(), values.min(), values.max()
            compared.append(Published(row, figure, None, ours, low, high))
    shown = panels(drawn, seed=seed, updates=updates)
    figures = {
        "boundaries": partial(boundary_grid, shown),
        "oscillation": partial(oscillation_grid, shown),
    }
    return Outcome(compared, figures=figures)


def gaussian_process(
    folder: Path,
    seed: int,
    *,
    data: str,
    recipes: Mapping[str, Recipe],
    training: Training,
    width: int = 64,
) -> Outcome:
    """Train a Gaussian process on deep features clean, then go on with each recipe.

    Args:
        folder: of the runs.
        seed: of the weights.
        data: a toy in the plane.
        recipes: name -> recipe; the clean process is the row "standard".
        training: of each of the two stages.
        width: of the hidden layers.
    """
    points = load(data, "train")
    process = _process(points, width, seed)
    fit(process, points, make_recipe("standard"), folder / "standard", training=training)
    shown = [panel(Cell(data, "standard"), process, points, "linf")]
    for name, recipe in recipes.items():
        other = _process(points, width, seed)
        other.load_state_dict(process.state_dict())
        fit(other, points, recipe, folder / name, training=training)
        shown.append(panel(Cell(data, name), other, points, "linf"))
    compared = [
        Published(one.row.method, figure, None, *[getattr(one.row, column)] * 3)
        for one in shown
        for column, figure in FIGURES.items()
    ]
    return Outcome(compared, figures={"boundaries": partial(boundary_grid, shown)})


def _process(points: Data, width: int, seed: int) -> DUE:
    with own_randomness(seed):
        net = build("residual-mlp", inputs=2, hidden=(width, width), classes=width)
        process = DUE(net, classes=2, count=len(points))
        process.place(points.batch(slice(None))[0])
    return process
