"""How attacks call a model: passes are counted, gradients are for the input only."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.types import Images, Model, Outcomes, rejects

Objective = Callable[[Tensor, Tensor], Tensor]
"""(outcomes `[b, O]`, rows `[b]` they belong to) -> what to maximise `[b]`."""


class Slope(NamedTuple):
    """Where an objective goes from here."""

    gradient: Images
    value: Tensor
    outcomes: Outcomes


class Counted:
    """A model that counts its forward and backward passes, in images."""

    def __init__(self, model: Model) -> None:
        self.model, self.rejects = model, rejects(model)
        self.forwards = self.backwards = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to outcomes without a graph."""
        self.forwards += len(images)
        with torch.no_grad():
            return self.model(images)

    def slope(self, objective: Objective, images: Tensor, rows: Tensor) -> Slope:
        """Give the gradient of the objective with respect to the images, and to nothing else."""
        images = images.detach().requires_grad_()
        self.forwards += len(images)
        self.backwards += len(images)
        with torch.enable_grad():
            outcomes = self.model(images)
            if not outcomes.requires_grad:
                raise ValueError(
                    "the model gives no gradient with respect to its images (detached, or run"
                    " without a graph): white-box attacks cannot climb; use `square`"
                )
            value = objective(outcomes, rows)
            (gradient,) = torch.autograd.grad(value.sum(), images)
        return Slope(gradient, value.detach(), outcomes.detach())
