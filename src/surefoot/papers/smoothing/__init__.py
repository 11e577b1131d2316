"""Daeubener et al. 2024, uncertainty inside randomized smoothing; and recipes for smoothing."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.smoothing.ood import EXPERIMENTS as OOD
from surefoot.papers.smoothing.rejection_gains import EXPERIMENTS as GAINS
from surefoot.papers.smoothing.smoothing_recipes import EXPERIMENTS as RECIPES

EXPERIMENTS: dict[str, Experiment] = {**GAINS, **RECIPES, **OOD}

__all__ = ["EXPERIMENTS"]
