"""Training: one loop; a recipe is a perturbation and a loss.

`loop` runs, `settings` say how long and with which options, `recipes` holds the table of named
recipes, `noise` perturbations with noise, `losses` and `gloro` losses as functions of `outputs`,
`lipschitz_estimate` measures Lipschitz constants; `bound_loss` trains by bounds in the balls of
`surroundings`, with `live_net`, `interval_bounds`, `margin_rows` and `stabilisers`;
`weight_changes`, `augmentation`, `optimizers` and `judge` hold one option each.
"""

from surefoot.attacks.perturbation import Perturbation
from surefoot.training.augmentation import Augmentation
from surefoot.training.bound_loss import BoundLoss
from surefoot.training.gloro import GloRo
from surefoot.training.judge import CatastrophicOverfitting, Judge, accuracy, attacked_accuracy
from surefoot.training.loop import fit
from surefoot.training.noise import Alternating, Noisy
from surefoot.training.outputs import Outputs
from surefoot.training.recipes import RECIPES, Recipe, make_recipe
from surefoot.training.settings import PRESETS, Training
from surefoot.training.surroundings import AttackedBall, Ball, Ramp, SmallBall
from surefoot.training.weight_changes import WeightAttack

__all__ = [
    "PRESETS",
    "RECIPES",
    "Alternating",
    "AttackedBall",
    "Augmentation",
    "Ball",
    "BoundLoss",
    "CatastrophicOverfitting",
    "GloRo",
    "Judge",
    "Noisy",
    "Outputs",
    "Perturbation",
    "Ramp",
    "Recipe",
    "SmallBall",
    "Training",
    "WeightAttack",
    "accuracy",
    "attacked_accuracy",
    "fit",
    "make_recipe",
]
