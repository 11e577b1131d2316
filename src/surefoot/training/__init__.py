"""Training: one loop, recipes as small records.

`loop` runs, `settings` say how long and with which options, `recipe` says what a recipe is,
`recipes` holds them, `losses` and `margins` are functions of outcomes, `estimate` measures
Lipschitz constants; `weights`, `augmentation`, `optimizers` and `judge` hold one option each.
"""

from surefoot.training.augmentation import Augmentation
from surefoot.training.judge import CatastrophicOverfitting, Judge, accuracy, attacked_accuracy
from surefoot.training.loop import fit
from surefoot.training.recipe import Outputs, Recipe
from surefoot.training.recipes import (
    CATRS,
    FAT,
    FGSM,
    MART,
    MMA,
    NFGSM,
    PGD,
    RECIPES,
    RFGSM,
    TRADES,
    UDP,
    UDPR,
    UDPTRADES,
    Alternating,
    Consistency,
    GloRo,
    MaxE,
    Noise,
    NoisyUDP,
    SmoothAdv,
    Standard,
    name_of,
)
from surefoot.training.settings import PRESETS, Training
from surefoot.training.weights import WeightAttack

__all__ = [
    "CATRS",
    "FAT",
    "FGSM",
    "MART",
    "MMA",
    "NFGSM",
    "PGD",
    "PRESETS",
    "RECIPES",
    "RFGSM",
    "TRADES",
    "UDP",
    "UDPR",
    "UDPTRADES",
    "Alternating",
    "Augmentation",
    "CatastrophicOverfitting",
    "Consistency",
    "GloRo",
    "Judge",
    "MaxE",
    "Noise",
    "NoisyUDP",
    "Outputs",
    "Recipe",
    "SmoothAdv",
    "Standard",
    "Training",
    "WeightAttack",
    "accuracy",
    "attacked_accuracy",
    "fit",
    "name_of",
]
