"""How attacks call a model: passes are counted, gradients are for the input only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Cost:
    """What one attack of an ensemble took, and what it gave.

    Args:
        forwards: images sent through the model.
        backwards: images with a gradient.
        seconds: wall time.
        blind: gradients among them that were zero or not finite.
        found: pairs (example, alternative) that fell to it.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    blind: int = 0
    found: int = 0


class Counted:
    """A model that counts its passes, in images, for the attack that is named at the time."""

    def __init__(self, model: Model) -> None:
        self.model, self.rejects = model, rejects(model)
        self.costs = {"checks": Cost()}
        self._cost = self.costs["checks"]

    @contextmanager
    def charging(self, name: str) -> Iterator[Cost]:
        """Charge the passes inside to this attack."""
        before, began = self._cost, time.perf_counter()
        self._cost = self.costs.setdefault(name, Cost())
        try:
            yield self._cost
        finally:
            self._cost.seconds += time.perf_counter() - began
            self._cost = before

    @property
    def forwards(self) -> int:
        """Count all images sent through."""
        return sum(cost.forwards for cost in self.costs.values())

    @property
    def backwards(self) -> int:
        """Count all images with a gradient."""
        return sum(cost.backwards for cost in self.costs.values())

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to outcomes without a graph."""
        self._cost.forwards += len(images)
        with torch.no_grad():
            return self.model(images)

    def slope(self, objective: Objective, images: Tensor, rows: Tensor) -> Slope:
        """Give the gradient of the objective with respect to the images, and to nothing else."""
        images = images.detach().requires_grad_()
        self._cost.forwards += len(images)
        self._cost.backwards += len(images)
        with torch.enable_grad():
            outcomes = self.model(images)
            if not outcomes.requires_grad:
                raise ValueError(
                    "the model gives no gradient with respect to its images (detached, or run"
                    " without a graph): white-box attacks cannot climb; use `square`"
                )
            value = objective(outcomes, rows)
            (gradient,) = torch.autograd.grad(value.sum(), images)
        size = gradient.flatten(1).abs().sum(1)
        self._cost.blind += int((~(size > 0) | size.isinf()).sum())
        return Slope(gradient, value.detach(), outcomes.detach())
