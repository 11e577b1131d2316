"""Daeubener et al. 2024, uncertainty inside randomized smoothing; and recipes for smoothing."""

from surefoot.papers.smoothing import ood, rejection_gains, smoothing_recipes

SCALES = {**rejection_gains.SCALES, **smoothing_recipes.SCALES, **ood.SCALES}
