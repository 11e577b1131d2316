"""Training: one loop, recipes as small records."""

from surefoot.training.loop import Training, accuracy, fit
from surefoot.training.recipes import PGD, RECIPES, UDP, Noise, Recipe, Standard

__all__ = [
    "PGD",
    "RECIPES",
    "UDP",
    "Noise",
    "Recipe",
    "Standard",
    "Training",
    "accuracy",
    "fit",
]
