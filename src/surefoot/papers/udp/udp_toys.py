"""Toys, and figures without a table: Theorem 4.1, Figures 2, 3, 7 to 11, 15."""

from dataclasses import replace

from surefoot.data.toys import UNIT
from surefoot.papers.expected_movement import expected_movement
from surefoot.papers.experiment import at_scales
from surefoot.papers.figures_alone import distances, perturbed_gallery
from surefoot.papers.toy_experiments import (
    attacked_ensemble,
    boundaries,
    gaussian_process,
    plane,
)
from surefoot.papers.toys.moving_boundary import TwoMeans
from surefoot.papers.toys.suite import SUITE, Cell
from surefoot.papers.udp.image_tables import CIFAR
from surefoot.papers.udp.udp_rows import STANDARD
from surefoot.threat import Threat
from surefoot.training import Training, make_recipe

METHODS = ("pgd", "trades", "udp", "udp-bt")
FIRST = tuple(cell for cell in SUITE if cell.toy != "two-distance")
LMS_DRAWN = (Cell("lms-5", "standard"), *(Cell("lms-5", method, 0.3) for method in METHODS))
CORRIDORS = tuple(cell for cell in FIRST if cell.toy in ("sparse-corridor", "s-corridor"))
TWO = tuple(cell for cell in SUITE if cell.toy == "two-distance")
FEW = (Cell("two-distance", "standard"), Cell("two-distance", "udp", 0.6))
RADII = (0.05, 0.15, 0.25, 0.35, 0.45)


def grid_of(toy: str) -> tuple[Cell, ...]:
    """Return the cells of Figure 9: methods, each at all radii."""
    methods = (*METHODS, "udpr")
    return tuple(Cell(toy, method, eps) for method in methods for eps in RADII)


GRID, LMS_GRID = grid_of("narrow-corridor"), grid_of("lms-5")
FAR = {"threat": Threat("linf", UNIT), "steps": 50, "step_size": 0.1 * UNIT}
PROCESS = {"pgd": make_recipe("pgd", **FAR, start="origin"), "udp": make_recipe("udp", **FAR)}

SCALES = {
    "udp-theorem": at_scales(
        expected_movement,
        {
            "smoke": {"steps": 4, "count": 20},
            "small": {"steps": 200, "count": 4000},
            "paper": {"steps": 1000, "count": 100_000},
        },
        means=TwoMeans(-1.0, 1.0, 0.1),
        start=0.9,
        radii=(0.5, 1.5, 2.0),
    ),
    "udp-toys": at_scales(
        plane,
        {
            "smoke": {"cells": FEW, "drawn": FEW[:1], "seeds": 2, "updates": 5},
            "small": {"cells": FIRST},
            "paper": {"cells": (*FIRST, *GRID, *LMS_GRID)},
        },
        drawn=(*CORRIDORS, *LMS_DRAWN),
    ),
    "udp-two-distance": at_scales(
        plane,
        {
            "smoke": {"cells": FEW, "drawn": FEW, "seeds": 1, "updates": 5},
            "small": {},
            "paper": {"seeds": 10},
        },
        cells=TWO,
        drawn=TWO,
    ),
    "udp-corridor-grid": at_scales(
        boundaries,
        {
            "smoke": {"cells": FEW, "updates": 5},
            "small": {},
            "paper": {},
        },
        cells=GRID,
        columns=len(RADII),
    ),
    "udp-max-margin": at_scales(
        boundaries,
        {"smoke": {"cells": FEW[:1], "updates": 5}, "small": {}, "paper": {}},
        cells=LMS_DRAWN,
        columns=3,
        largest=True,
    ),
    "udp-attacked-points": at_scales(
        attacked_ensemble,
        {"smoke": {"members": 2, "updates": 5, "steps": (1, 2)}, "small": {}, "paper": {}},
        toy="two-distance",
        threat=Threat("linf", 0.6 * UNIT),
        steps=(1, 20),
        step_size=0.05 * UNIT,
        members=10,
    ),
    "udp-gaussian-process": at_scales(
        gaussian_process,
        {
            "smoke": {
                "recipes": {"udp": make_recipe("udp", threat=FAR["threat"], steps=2)},
                "training": Training(epochs=1, batch_size=60, learning_rate=1e-2),
                "attack": FAR | {"steps": 2},
                "width": 8,
            },
            "small": {"training": Training(epochs=60, batch_size=60, learning_rate=1e-2)},
            "paper": {"training": Training(epochs=200, batch_size=60, learning_rate=1e-2)},
        },
        data="s-corridor",
        recipes=PROCESS,
        attack=FAR,
    ),
    "udp-distances": at_scales(
        distances,
        {
            "smoke": {"data": ("digits",), "count": 0, "marks": (0.5,)},
            "small": {
                "data": ("fashion-mnist", "cifar10"),
                "count": 10_000,
                "marks": (0.5, 1.5),
            },
            "paper": {"data": ("cifar10",), "count": 0, "marks": (0.5, 1.0, 1.5)},
        },
        norm="l2",
    ),
    "udp-looks": at_scales(
        perturbed_gallery,
        {
            "smoke": {"setting": replace(CIFAR["smoke"], test=3), "steps": 5},
            "small": replace(CIFAR["small"], test=6),
            "paper": replace(CIFAR["paper"], test=6),
        },
        row=STANDARD,
        steps=1000,
    ),
}
