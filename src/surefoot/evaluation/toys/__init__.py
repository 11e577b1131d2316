"""Toys with exact answers: many small nets at once, their boundaries, margins, simplicity bias."""

from surefoot.evaluation.toys.oscillation import Changes
from surefoot.evaluation.toys.plane import (
    boundary,
    distance_to,
    efficiency,
    grid,
    lead,
    margins,
    smallest_ratio,
)
from surefoot.evaluation.toys.simplicity import randomised_aucs
from surefoot.evaluation.toys.stack import Stack, fit_together
from surefoot.evaluation.toys.suite import SUITE, TOYS, Cell, Row, Trained, measure, run, train

__all__ = [
    "SUITE",
    "TOYS",
    "Cell",
    "Changes",
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
    "randomised_aucs",
    "run",
    "smallest_ratio",
    "train",
]
