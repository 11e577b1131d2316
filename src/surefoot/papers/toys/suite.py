"""The toy suite: which recipes keep a margin where one eps does not fit all gaps.

Toys, nets and settings of our own, beside what Pagliardini et al. 2022 report in Figures 3, 8, 9.
All lengths of this file are in units of the paper; images count in `data.toys.UNIT` of it.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from surefoot.data import Data
from surefoot.data.toys import UNIT, narrow_corridor, slabs, two_distance
from surefoot.limits import nearest_other_class
from surefoot.papers.toys.boundaries import efficiency, grid, logit_margin, margins, smallest_ratio
from surefoot.papers.toys.oscillation import Changes
from surefoot.papers.toys.stack import Stack, fit_together
from surefoot.threat import Norm, Threat
from surefoot.training import Recipe, Training, make_recipe
from surefoot.types import Model, PerExample


@dataclass(frozen=True)
class Toy:
    """A set in the plane, and how nets are trained on it.

    Args:
        draw: seed -> points.
        norm: of perturbations and margins.
        step_size: of perturbations.
        steps: of perturbations, the largest number.
        updates: of the weights.
        learning_rate: of Adam.
        width: of the two hidden layers.
    """

    draw: Callable[[int], Data]
    norm: Norm
    step_size: float
    steps: int
    updates: int
    learning_rate: float = 0.01
    width: int = 64


TOYS = {
    "lms-5": Toy(lambda seed: slabs(400, (1, 5), seed=seed), "l2", 0.03, 20, 600),
    "lms-5-uneven": Toy(
        lambda seed: slabs(400, (1, 5), seed=seed, margins=(0.05, 0.15)), "l2", 0.03, 20, 600
    ),
    "narrow-corridor": Toy(
        lambda seed: narrow_corridor(600, seed=seed), "linf", 0.05, 10, 1000, width=100
    ),
    "sparse-corridor": Toy(
        lambda seed: narrow_corridor(60, seed=seed),
        "linf",
        0.02,
        10,
        300,
        learning_rate=0.3,
        width=100,
    ),
    "s-corridor": Toy(
        lambda seed: narrow_corridor(240, seed=seed, half_gaps=(0.04, 0.45), bend=0.25),
        "linf",
        0.025,
        10,
        1500,
        learning_rate=0.005,
    ),
    "two-distance": Toy(lambda seed: two_distance(200, seed=seed), "linf", 0.05, 15, 800),
}


@dataclass(frozen=True)
class Cell:
    """One recipe on one toy.

    Args:
        toy: a name of `TOYS`.
        method: a name, as in `recipe_of`.
        eps: radius of the perturbations; 0 for the standard recipe.
    """

    toy: str
    method: str
    eps: float = 0.0


SUITE = (
    Cell("lms-5", "standard"),
    *(Cell("lms-5", method, eps) for method in ("pgd", "trades") for eps in (0.14, 0.5)),
    *(Cell("lms-5", method, eps) for method in ("udp", "udpr") for eps in (0.3, 0.5)),
    Cell("narrow-corridor", "standard"),
    *(Cell("narrow-corridor", method, 0.45) for method in ("pgd", "trades", "udp")),
    Cell("sparse-corridor", "standard"),
    *(Cell("sparse-corridor", m, 0.2) for m in ("pgd", "trades", "udp", "udp-bt")),
    Cell("s-corridor", "standard"),
    *(Cell("s-corridor", m, 0.25) for m in ("pgd", "trades", "udp", "udp-bt")),
    Cell("two-distance", "standard"),
    *(Cell("two-distance", m, 0.6) for m in ("pgd", "trades", "udp", "udp-bt")),
)
"""The table of each toy: what the targets of the benchmark need, and what they compare with."""

BESIDE = (
    Cell("lms-5", "pgd", 0.3),
    Cell("lms-5", "trades", 0.3),
    *(Cell("lms-5", "udp-bt", eps) for eps in (0.3, 0.5)),
    Cell("s-corridor", "udpr", 0.25),
    Cell("two-distance", "udpr", 0.6),
)
"""What completes the tables."""


def recipe_of(cell: Cell) -> Recipe:
    """Return the recipe of a cell; searches start at the point itself."""
    toy = TOYS[cell.toy]
    threat = Threat(toy.norm, cell.eps * UNIT)
    if cell.method == "standard":
        return make_recipe("standard")
    origin = {"start": "origin"} if cell.method == "pgd" else {}
    how = {"threat": threat, "steps": toy.steps, "step_size": toy.step_size * UNIT}
    return make_recipe(cell.method, **how, **origin)


@dataclass(frozen=True)
class Trained:
    """Nets of one cell, one a seed.

    Attributes:
        cell: toy and recipe.
        seeds: of points and weights.
        stack: the nets.
        data: the points of each.
        seconds: CPU time of the training.
        changes: changes of the prediction on a grid `[S, G]`, if they were counted.
    """

    cell: Cell
    seeds: tuple[int, ...]
    stack: Stack
    data: list[Data]
    seconds: float
    changes: Tensor | None = None


def train(cell: Cell, *, seeds: Sequence[int], updates: int = 0, changes_on: int = 0) -> Trained:
    """Train one net a seed, each on its own draw of the toy.

    Args:
        cell: toy and recipe.
        seeds: of points and weights.
        updates: of the weights; 0 takes those of the toy.
        changes_on: count changes of the prediction on a grid of so many points along each axis.
    """
    toy = TOYS[cell.toy]
    data = [toy.draw(seed) for seed in seeds]
    images, labels = map(torch.stack, zip(*(part.batch(slice(None)) for part in data), strict=True))
    stack = Stack((2, toy.width, toy.width, 2), seeds)
    began, changes = time.process_time(), Changes()
    places = grid(changes_on).expand(len(seeds), -1, -1)
    fit_together(
        stack,
        images,
        labels,
        recipe_of(cell),
        updates=updates or toy.updates,
        training=Training(learning_rate=toy.learning_rate, seed=seeds[0]),
        watch=(lambda: changes.see(stack.evaluate(places))) if changes_on else None,
    )
    return Trained(cell, tuple(seeds), stack, data, time.process_time() - began, changes.counts)


@dataclass(frozen=True)
class ToyResult:
    """What came of one net; lengths in units of the paper.

    Args:
        toy: of the cell.
        method: of the cell.
        eps: of the cell.
        seed: of points and weights.
        accuracy: on the points it was trained on.
        ratio: smallest margin over the best possible one.
        efficiency: mean fraction of the best possible margin of each point.
        margin: mean margin.
    """

    toy: str
    method: str
    eps: float
    seed: int
    accuracy: float
    ratio: float
    efficiency: float
    margin: float


def measure(trained: Trained, *, resolution: int = 400) -> list[ToyResult]:
    """Measure the nets of a cell.

    Args:
        trained: of `train`.
        resolution: of the grid on which boundaries are found.
    """
    cell, norm = trained.cell, TOYS[trained.cell.toy].norm

    def found(index: int, data: Data) -> PerExample:
        points, labels = data.batch(slice(None))
        return margins(trained.stack.net(index), points, labels, norm=norm, resolution=resolution)

    return [
        result(cell, seed, data, found(index, data), norm)
        for index, (seed, data) in enumerate(zip(trained.seeds, trained.data, strict=True))
    ]


def result(cell: Cell, seed: int, data: Data, margins: PerExample, norm: Norm) -> ToyResult:
    """Sum up the margins of the points of one net."""
    gaps = nearest_other_class(*data.batch(slice(None)), norm=norm).distance
    return ToyResult(
        cell.toy,
        cell.method,
        cell.eps,
        seed,
        accuracy=(margins > 0).double().mean().item(),
        ratio=smallest_ratio(margins, gaps),
        efficiency=efficiency(margins, gaps),
        margin=margins.mean().item() / UNIT,
    )


def run(
    cells: Iterable[Cell] = SUITE, *, seeds: Sequence[int] = range(5), updates: int = 0
) -> pd.DataFrame:
    """Train and measure cells; a row a net, with the CPU seconds of its cell.

    Args:
        cells: toys and recipes.
        seeds: of points and weights.
        updates: of the weights; 0 takes those of each toy.
    """
    rows = []
    for cell in cells:
        trained = train(cell, seeds=seeds, updates=updates)
        found = measure(trained)
        rows += [{**asdict(row), "seconds": trained.seconds} for row in found]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Panel:
    """What a figure of one net in the plane shows.

    Attributes:
        row: its figures.
        data: the points.
        norm: of the margins.
        margins: of the points, in pixel units.
        logit_margins: f_1 - f_0 on a grid over the box `[R, R]`.
        changes: changes of the prediction while it was trained, on a grid `[Q, Q]`, if counted.
    """

    row: ToyResult
    data: Data
    norm: Norm
    margins: PerExample
    logit_margins: Tensor
    changes: Tensor | None = None


def panels(cells: Iterable[Cell], *, seed: int = 0, updates: int = 0) -> list[Panel]:
    """Train a net for each cell: what `boundary_grid` and `oscillation_grid` draw.

    Args:
        cells: toys and recipes.
        seed: of points and weights.
        updates: of the weights; 0 takes those of each toy.
    """
    found = []
    for cell in cells:
        nets = train(cell, seeds=(seed,), updates=updates, changes_on=80)
        changes = None if nets.changes is None else _square(nets.changes[0])
        one = panel(cell, nets.stack.net(0), nets.data[0], TOYS[cell.toy].norm, seed)
        found.append(replace(one, changes=changes))
    return found


def panel(cell: Cell, model: Model, data: Data, norm: Norm, seed: int = 0) -> Panel:
    """Measure one net in the plane for its figure."""
    found = margins(model, *data.batch(slice(None)), norm=norm)
    return Panel(
        result(cell, seed, data, found, norm),
        data,
        norm,
        found,
        _square(logit_margin(model, grid(400))),
    )


def _square(values: Tensor) -> Tensor:
    side = math.isqrt(len(values))
    return values.view(side, side)
