"""Experiments of papers as data: settings, published figures, what to compare; a folder a paper."""

import tomllib
from importlib.resources import files

from surefoot.papers import gloro, intrinsic, matrix, smoothing, udp
from surefoot.papers.experiment import Experiment, Outcome, Published, Row, Setting
from surefoot.papers.run import reproduce, verdicts

_TEXT = files(__name__).joinpath("descriptions.toml").read_text(encoding="utf-8")
DESCRIPTIONS = tomllib.loads(_TEXT)
EXPERIMENTS = {
    name: Experiment(name, **DESCRIPTIONS[name], scales=scales)
    for paper in (udp, gloro, smoothing, intrinsic, matrix)
    for name, scales in paper.SCALES.items()
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
