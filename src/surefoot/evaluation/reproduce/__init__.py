"""Experiments of papers as data: settings, published figures, what to compare. One file a paper."""

from surefoot.evaluation.reproduce.experiment import Experiment, Published, Row, Setting
from surefoot.evaluation.reproduce.udp import EXPERIMENTS as UDP_EXPERIMENTS

EXPERIMENTS: dict[str, Experiment] = {**UDP_EXPERIMENTS}

__all__ = ["EXPERIMENTS", "Experiment", "Published", "Row", "Setting"]
