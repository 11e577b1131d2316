"""Toys with exact answers: many small nets at once, their boundaries, margins, simplicity bias."""

from surefoot.papers.toys.boundaries import (
    boundary,
    distance_to,
    efficiency,
    grid,
    lead,
    margins,
    smallest_ratio,
)
from surefoot.papers.toys.oscillation import Changes
from surefoot.papers.toys.simplicity import randomised_aucs
from surefoot.papers.toys.stack import Stack, fit_together
from surefoot.papers.toys.suite import (
    BESIDE,
    SUITE,
    TOYS,
    Cell,
    Panel,
    Row,
    Trained,
    measure,
    panels,
    run,
    train,
)

__all__ = [
    "BESIDE",
    "SUITE",
    "TOYS",
    "Cell",
    "Changes",
    "Panel",
    "Row",
    "Stack",
    "Trained",
    "boundary",
    "distance_to",
    "efficiency",
    "fit_together",
    "grid",
    "lead",
    "margins",
    "measure",
    "panels",
    "randomised_aucs",
    "run",
    "smallest_ratio",
    "train",
]
