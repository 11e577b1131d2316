"""Daeubener et al. 2024, uncertainty inside randomized smoothing; and recipes for smoothing."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.smoothing.ood import EXPERIMENTS as OOD
from surefoot.papers.smoothing.smoothing_recipes import EXPERIMENTS as RECIPES
from surefoot.papers.smoothing.two_radii import EXPERIMENTS as TWO_RADII

EXPERIMENTS: dict[str, Experiment] = {**TWO_RADII, **RECIPES, **OOD}

__all__ = ["EXPERIMENTS"]
