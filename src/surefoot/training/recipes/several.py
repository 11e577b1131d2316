"""A recipe made of recipes: robustness in more than one norm from one training."""

from dataclasses import dataclass

import torch

from surefoot.attacks.latent import Point
from surefoot.training.recipe import Outputs, Recipe
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class Alternating:
    """Perturb each batch by one of several recipes, drawn at random.

    A net trained in one norm is seldom robust in another; here linf and l2 take turns, at the cost
    of one. All recipes minimise the same loss and differ in their perturbation alone.

    Args:
        recipes: At least two of one kind.

    Reference: Tramer, Boneh 2019 (several perturbations); Madaan, Shin, Hwang 2021 (drawn at
    random).
    """

    recipes: tuple[Recipe, ...]

    def __post_init__(self) -> None:
        if len(self.recipes) < 2 or len({type(recipe) for recipe in self.recipes}) > 1:
            found = ", ".join(type(recipe).__name__ for recipe in self.recipes)
            raise ValueError(f"`recipes` must be two or more of one kind; found ({found})")

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Let one of the recipes perturb the batch."""
        turn = int(torch.randint(len(self.recipes), (), generator=generator))
        return self.recipes[turn].perturb(model, images, labels, generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the loss that all of them minimise."""
        return self.recipes[0].loss(answers)
