"""Toys in the plane, where accuracy, margins and boundaries are known exactly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from surefoot.data import Data, load
from surefoot.models import build
from surefoot.papers.attacked_points import shown_attacks, udp_panel
from surefoot.papers.drawing.attacked_figure import attacked_grid
from surefoot.papers.drawing.boundary_figures import boundary_grid, oscillation_grid
from surefoot.papers.experiment import Draw, Outcome, Published, compare
from surefoot.papers.results import kept
from surefoot.papers.toys.largest_margin import nearest_point_classifier
from surefoot.papers.toys.stack import Stack, fit_together
from surefoot.papers.toys.suite import TOYS, Cell, Panel, ToyResult, panel, panels, recipe_of, run
from surefoot.progress import track
from surefoot.streams import own_randomness
from surefoot.threat import Threat
from surefoot.training import Recipe, Training, fit, make_recipe
from surefoot.types import Outcomes, Points
from surefoot.uncertainty.due import DUE
from surefoot.uncertainty.members import log_mean

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

    A cell has no margins where a net of it has no boundary in the box.

    Args:
        folder: keeps the figures of each cell, so that a killed run goes on.
        seed: the first one.
        cells: toys and recipes.
        drawn: cells whose boundaries and oscillations are drawn, two figures a toy.
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
        row = _name(cell)
        for column, name in FIGURES.items():
            values, figure = frame[column], f"{cell.toy}: {name}"
            if np.isfinite(values).all():
                ours, low, high = values.mean(), values.min(), values.max()
                compared.append(Published(row, figure, None, ours, low, high))
    figures: dict[str, Draw] = {}
    for toy in dict.fromkeys(cell.toy for cell in drawn):
        shown = panels([cell for cell in drawn if cell.toy == toy], seed=seed, updates=updates)
        figures[f"boundaries-{toy}"] = partial(boundary_grid, shown)
        figures[f"oscillation-{toy}"] = partial(oscillation_grid, shown)
    return Outcome(compared, figures=figures)


def boundaries(
    folder: Path,
    seed: int,
    *,
    cells: Sequence[Cell],
    columns: int,
    largest: bool = False,
    updates: int = 0,
) -> Outcome:
    """Train one net a cell, and draw all boundaries in a grid.

    Args:
        folder: not used, a net takes seconds.
        seed: of points and weights.
        cells: recipes on one toy.
        columns: of the grid.
        largest: begin with the classifier of the largest margins.
        updates: of the weights; 0 takes those of the toy.
    """
    shown = [_largest(cells[0].toy, seed)] if largest else []
    shown += panels(track(cells, "nets", len(cells)), seed=seed, updates=updates)
    drawn = partial(boundary_grid, shown, columns=columns)
    return Outcome(_measured(shown), figures={"boundaries": drawn})


def _largest(toy: str, seed: int) -> Panel:
    data, norm = TOYS[toy].draw(seed), TOYS[toy].norm
    model = nearest_point_classifier(data, norm=norm)
    return panel(Cell(toy, "largest margin"), model, data, norm, seed)


def attacked_ensemble(
    folder: Path,
    seed: int,
    *,
    toy: str,
    threat: Threat,
    steps: Sequence[int],
    step_size: float,
    members: int,
    updates: int = 0,
) -> Outcome:
    """Train nets on the same points; attack the first by PGD and UDP, and all together by UDP.

    Args:
        folder: not used, the nets take seconds.
        seed: of points and weights.
        toy: a name of `TOYS`.
        threat: of the attacks.
        steps: of the attacks, one after the other.
        step_size: of the attacks.
        members: nets whose mean is attacked.
        updates: of the weights; 0 takes those of the toy.
    """
    data = TOYS[toy].draw(seed)
    stack = _trained_together(toy, data, range(seed, seed + members), updates)

    def mean(points: Points) -> Outcomes:
        return log_mean(stack.evaluate(points.expand(members, -1, -1)))

    shown = []
    for number in steps:
        how = {"threat": threat, "steps": number, "step_size": step_size}
        found = shown_attacks(stack.net(0), data, **how)
        shown += [*found, udp_panel(f"UDP on {members} nets", mean, data, **how)]
    compared = [
        entry
        for one in shown
        for entry in compare(one.title, {"right after the attack": one.right})
    ]
    return Outcome(compared, figures={"attacks": partial(attacked_grid, shown, columns=4)})


def _trained_together(toy: str, data: Data, seeds: Sequence[int], updates: int) -> Stack:
    settings = TOYS[toy]
    images, labels = data.batch(slice(None))
    return fit_together(
        Stack((2, settings.width, settings.width, 2), seeds),
        images.expand(len(seeds), -1, -1),
        labels.expand(len(seeds), -1),
        recipe_of(Cell(toy, "standard")),
        updates=updates or settings.updates,
        training=Training(learning_rate=settings.learning_rate, seed=seeds[0]),
    )


def gaussian_process(
    folder: Path,
    seed: int,
    *,
    data: str,
    recipes: Mapping[str, Recipe],
    training: Training,
    attack: Mapping[str, Any],
    width: int = 64,
) -> Outcome:
    """Train a Gaussian process on deep features clean, then go on with each recipe.

    Args:
        folder: of the runs.
        seed: of the weights.
        data: a toy in the plane.
        recipes: name -> recipe; the clean process is the row "standard".
        training: of each of the two stages.
        attack: threat, steps and step size of the attacks on the clean process that are drawn.
        width: of the hidden layers.
    """
    points = load(data, "train")
    process = _process(points, width, seed)
    fit(process, points, make_recipe("standard"), folder / "standard", training=training)
    shown = [panel(Cell(data, "standard"), process, points, "linf")]
    attacked = shown_attacks(process, points, **attack)
    for name, recipe in recipes.items():
        other = _process(points, width, seed)
        other.load_state_dict(process.state_dict())
        fit(other, points, recipe, folder / name, training=training)
        shown.append(panel(Cell(data, name), other, points, "linf"))
    figures = {
        "boundaries": partial(boundary_grid, shown),
        "attacks": partial(attacked_grid, attacked),
    }
    return Outcome(_measured(shown), figures=figures)


def _measured(shown: Sequence[Panel]) -> list[Published]:
    """Return accuracy of single nets, and margins where a boundary is in the box: no interval."""
    return [
        Published(_name(one.row), figure, None, *[getattr(one.row, column)] * 3)
        for one in shown
        for column, figure in FIGURES.items()
        if math.isfinite(getattr(one.row, column))
    ]


def _name(one: Cell | ToyResult) -> str:
    return f"{one.method} {one.eps:g}" if one.eps else one.method


def _process(points: Data, width: int, seed: int) -> DUE:
    with own_randomness(seed):
        net = build("residual-mlp", inputs=2, hidden=(width, width), classes=width)
        process = DUE(net, classes=2, count=len(points))
        process.place(points.batch(slice(None))[0])
    return process
