"""Experiments of papers as data: settings, published figures, what to compare. One file a paper."""

from surefoot.evaluation.reproduce.experiment import (
    Curves,
    Experiment,
    Outcome,
    Published,
    Row,
    Setting,
)
from surefoot.evaluation.reproduce.run import reproduce, verdicts
from surefoot.evaluation.reproduce.udp import EXPERIMENTS as UDP_EXPERIMENTS
from surefoot.evaluation.reproduce.udp_plane import EXPERIMENTS as PLANE_EXPERIMENTS

EXPERIMENTS: dict[str, Experiment] = {**PLANE_EXPERIMENTS, **UDP_EXPERIMENTS}

__all__ = [
    "EXPERIMENTS",
    "Curves",
    "Experiment",
    "Outcome",
    "Published",
    "Row",
    "Setting",
    "reproduce",
    "verdicts",
]
