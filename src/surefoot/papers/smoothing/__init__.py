"""Daeubener et al. 2024, uncertainty inside randomized smoothing; and recipes for smoothing."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.smoothing.ood import EXPERIMENTS as OOD
from surefoot.papers.smoothing.recipes import EXPERIMENTS as RECIPES
from surefoot.papers.smoothing.rejection import EXPERIMENTS as REJECTION

EXPERIMENTS: dict[str, Experiment] = {**REJECTION, **RECIPES, **OOD}

__all__ = ["EXPERIMENTS"]
