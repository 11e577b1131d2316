"""Experiments of papers as data: settings, published figures, what to compare; a folder a paper."""

from surefoot.papers.experiment import (
    Experiment,
    Outcome,
    Published,
    Row,
    Setting,
)
from surefoot.papers.gloro import EXPERIMENTS as GLORO_EXPERIMENTS
from surefoot.papers.intrinsic import EXPERIMENTS as INTRINSIC_EXPERIMENTS
from surefoot.papers.run import reproduce, verdicts
from surefoot.papers.smoothing import EXPERIMENTS as SMOOTHING_EXPERIMENTS
from surefoot.papers.udp import EXPERIMENTS as UDP_EXPERIMENTS

EXPERIMENTS: dict[str, Experiment] = {
    **UDP_EXPERIMENTS,
    **GLORO_EXPERIMENTS,
    **SMOOTHING_EXPERIMENTS,
    **INTRINSIC_EXPERIMENTS,
}

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Outcome",
    "Published",
    "Row",
    "Setting",
    "reproduce",
    "verdicts",
]
