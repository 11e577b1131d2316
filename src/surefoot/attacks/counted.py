"""How attacks call a model: passes are counted, gradients are for the input only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.models.border import outcomes_of
from surefoot.types import Images, Model, Outcomes, rejects

PASS_PIXELS, LEAST_PASS = 50_000, 32
"""A pass on the CPU takes about so many pixels, or so many images if that is more: beyond, each
activation outgrows the cache and is mapped afresh by the kernel, which doubles the time."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""(outcomes `[b, O]`, rows `[b]` they belong to) -> what to maximise `[b]`."""


class Evaluated(NamedTuple):
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
        found: pairs (example, alternative) that it broke first.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    blind: int = 0
    found: int = 0


class Counted:
    """A model that counts its passes, in images, for the attack that is named at the time.

    Args:
        model: maps images to outcomes.
        whole: send each batch in one pass; else large batches go in several on the CPU.
        raw: `model` is a function of ours, whose result is no outcomes; else it goes through the
            border (`models.border.outcomes_of`).
        draws: passes that a gradient is averaged over, for models that answer at random; its
            outcomes are then the fractions of their votes.
    """

    def __init__(
        self, model: Model, *, whole: bool = False, raw: bool = False, draws: int = 1
    ) -> None:
        self.model, self.rejects, self.whole = model, rejects(model), whole
        self._run = model if raw else partial(outcomes_of, model)
        self.draws = draws
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
            return torch.cat([self._run(part) for part in images.chunk(self._passes(images))])

    def evaluate(self, objective: Objective, images: Tensor, rows: Tensor) -> Evaluated:
        """Return the objective, its gradient (for the images only), and the outcomes."""
        count = self._passes(images)
        parts = zip(images.chunk(count), rows.chunk(count), strict=True)
        found = [self._averaged(objective, *part) for part in parts]
        return found[0] if len(found) == 1 else Evaluated(*map(torch.cat, zip(*found, strict=True)))

    def _averaged(self, objective: Objective, images: Tensor, rows: Tensor) -> Evaluated:
        if self.draws == 1:
            return self._evaluate(objective, images, rows)
        found = [self._evaluate(objective, images, rows) for _ in range(self.draws)]
        gradient, value, _ = (torch.stack(one).mean(0) for one in zip(*found, strict=True))
        votes = torch.stack([votes_of(evaluated.outcomes) for evaluated in found]).mean(0)
        return Evaluated(gradient, value, votes)

    def _evaluate(self, objective: Objective, images: Tensor, rows: Tensor) -> Evaluated:
        images = images.detach().requires_grad_()
        self._cost.forwards += len(images)
        self._cost.backwards += len(images)
        with torch.enable_grad():
            outcomes = self._run(images)
            value = objective(outcomes, rows)
            gradient = None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), images, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "the model returns no gradient with respect to its images (detached, rounded, or"
                " run without a graph): attacks by gradients cannot climb. Pass the net inside,"
                " before argmax and rounding; or search without gradients: the protocol margins"
                " (--protocol margins, the default) then takes Square alone, and so does"
                " surefoot.attacks.square(model, images, labels, threat=...)"
            )
        size = gradient.flatten(1).abs().amax(1)
        self._cost.blind += int((~(size > 0) | size.isinf()).sum())
        return Evaluated(gradient, value.detach(), outcomes.detach())

    def _passes(self, images: Tensor) -> int:
        if self.whole or images.device.type != "cpu" or len(images) == 0:
            return 1
        most = max(PASS_PIXELS // images[0].numel(), LEAST_PASS)
        return max(round(len(images) / most), 1)


def votes_of(outcomes: Outcomes) -> Outcomes:
    """Return 1 to the winner of each row and 0 to the rest; a non-finite row gives NaN to all."""
    votes = torch.zeros_like(outcomes).scatter(1, outcomes.argmax(1, keepdim=True), 1.0)
    return votes.masked_fill(~outcomes.isfinite().all(1, keepdim=True), torch.nan)
