"""Daeubener et al. 2024, uncertainty inside randomized smoothing; and recipes for smoothing."""

from surefoot.evaluation.reproduce.experiment import Experiment
from surefoot.evaluation.reproduce.smoothing.ood import EXPERIMENTS as OOD
from surefoot.evaluation.reproduce.smoothing.recipes import EXPERIMENTS as RECIPES
from surefoot.evaluation.reproduce.smoothing.rejection import EXPERIMENTS as REJECTION

EXPERIMENTS: dict[str, Experiment] = {**REJECTION, **RECIPES, **OOD}

__all__ = ["EXPERIMENTS"]
