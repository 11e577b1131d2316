"""Experiments of papers as data: settings, published figures, what to compare; a folder a paper."""

from surefoot.evaluation.reproduce.experiment import (
    Curves,
    Experiment,
    Outcome,
    Published,
    Row,
    Setting,
)
from surefoot.evaluation.reproduce.gloro import EXPERIMENTS as GLORO_EXPERIMENTS
from surefoot.evaluation.reproduce.intrinsic import EXPERIMENTS as INTRINSIC_EXPERIMENTS
from surefoot.evaluation.reproduce.run import reproduce, verdicts
from surefoot.evaluation.reproduce.smoothing import EXPERIMENTS as SMOOTHING_EXPERIMENTS
from surefoot.evaluation.reproduce.udp import EXPERIMENTS as UDP_EXPERIMENTS

EXPERIMENTS: dict[str, Experiment] = {
    **UDP_EXPERIMENTS,
    **GLORO_EXPERIMENTS,
    **SMOOTHING_EXPERIMENTS,
    **INTRINSIC_EXPERIMENTS,
}

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
