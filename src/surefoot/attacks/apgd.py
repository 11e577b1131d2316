"""Auto-PGD: ascent with momentum whose step size halves when progress stalls.

Croce, Hein 2020, Algorithm 1, in the version that AutoAttack runs. `search` is the one adaptive
loop of surefoot, parametrised by objective and success test; `apgd` is its plain use.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.counted import Counted, Evaluated, Objective
from surefoot.attacks.draws import ByExample, Draws, directions
from surefoot.attacks.objectives import objective_of, wrong
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.types import AnyLabels, Images, Model, checked_labels, rejects

MOMENTUM = 0.75
ENOUGH_RISES = 0.75

Success = Callable[[Tensor, Tensor], Tensor]
"""(outcomes `[b, O]`, rows `[b]` they belong to) -> is this point a counterexample, `[b]`."""


class Found(NamedTuple):
    """What a search brings home: a counterexample, or the point of the highest objective."""

    images: Images
    success: Tensor


def apgd(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    steps: int = 100,
    objective: str = "cross-entropy",
    restarts: int = 1,
    seed: int = 0,
) -> Images:
    """Search for misclassified images; each example has its own random stream.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        labels: true labels.
        threat: ball and box.
        steps: iterations of one search.
        objective: "cross-entropy", "cw", "dlr" or "entropy".
        restarts: searches from different random points, until one succeeds.
        seed: of the random starts; results do not depend on the batch.

    Returns:
        a misclassified image inside the threat where one was found (the image itself where it is
        misclassified already), else the point of the highest objective of the last search.
    """
    images = threat.origins(images)
    if steps < 1 or restarts < 1:
        raise ValueError(f"need steps >= 1 and restarts >= 1; found {steps} and {restarts}")
    climb = objective_of(objective)
    result = images.clone()
    with frozen(model):
        counted = Counted(model)
        outcomes = counted(images)
        labels = checked_labels(labels, images, outcomes.shape[1] - rejects(model))
        open_rows = (~wrong(outcomes, labels)).nonzero().flatten()
        for restart in range(restarts):
            if len(open_rows) == 0:
                break
            origins, own = images[open_rows], labels[open_rows]
            found = search(
                counted,
                lambda outcomes, rows, own=own: climb(outcomes, own[rows]),
                lambda outcomes, rows, own=own: wrong(outcomes, own[rows]),
                random_starts(origins, threat, seed, restart),
                origins,
                threat=threat,
                steps=steps,
            )
            result[open_rows] = found.images
            open_rows = open_rows[~found.success]
    return result


def random_starts(origins: Images, threat: Threat, *key: int) -> Images:
    """Return a start on the surface of the ball, from one stream an example."""
    rows = torch.arange(len(origins))
    return on_surface(origins, threat, ByExample.of(origins, *key), rows)


def on_surface(origins: Images, threat: Threat, draws: Draws, rows: Tensor) -> Images:
    """Return AutoAttack's start: noise of the full length eps, clipped to the box."""
    noise = directions(draws, origins, threat.norm, rows)
    return threat.project(origins + threat.reach * noise, origins)


def checkpoints(steps: int) -> list[int]:
    """List after how many iterations the step size is judged: 22, 41, 57, ... for 100 steps."""
    period, shrink, least = (max(int(fraction * steps), 1) for fraction in (0.22, 0.03, 0.06))
    after, places = period, []
    while after <= steps:
        places.append(after)
        period = max(period - shrink, least)
        after += period
    return places


def search(
    model: Counted,
    objective: Objective,
    succeeded: Success,
    start: Images,
    origins: Images,
    *,
    threat: Threat,
    steps: int,
) -> Found:
    """Run Auto-PGD from `start` until the success test holds; found examples leave the batch.

    The step size starts at 2 eps. At a checkpoint it halves, and the search returns to its best
    point, when at most three quarters of the steps since the last one raised the objective, or when
    it was not halved there and the best value has not risen since.
    """
    rows = torch.arange(len(start), device=start.device)
    state = _State(model.evaluate(objective, start, rows), start, threat)
    result, success = start.clone(), torch.zeros_like(rows, dtype=torch.bool)
    judged = set(checkpoints(steps))
    for step in range(steps + 1):
        won = succeeded(state.outcomes, rows)
        if bool(won.any()):
            result[rows[won]], success[rows[won]] = state.images[won], True
            rows = rows[~won]
            state.keep(~won)
        if len(rows) == 0 or step == steps:
            break
        if step in judged:
            state.judge()
        state.move(origins[rows], threat, MOMENTUM if step > 0 else 1.0)
        state.arrive(model.evaluate(objective, state.images, rows))
    result[rows] = state.best
    return Found(result, success)


class _State:
    """Everything the ascent remembers for each example that is still in the batch."""

    def __init__(self, evaluated: Evaluated, images: Images, threat: Threat) -> None:
        self.images, self.previous, self.best = images.clone(), images.clone(), images.clone()
        self.gradient, self.value, self.outcomes = evaluated
        self.best_gradient, self.best_value = self.gradient.clone(), self.value.clone()
        self.best_value_judged = self.value.clone()
        # As in AutoAttack: the loss before the first step counts as 0, whatever it was.
        self.last_value = torch.zeros_like(self.value)
        self.rises = torch.zeros_like(self.value)
        self.since = 0
        self.halved = torch.ones_like(self.value, dtype=torch.bool)
        # In the precision of the images: a net may answer in another one.
        self.step_size = torch.full_like(self.value, 2 * threat.reach, dtype=images.dtype)

    def keep(self, rows: Tensor) -> None:
        """Drop the examples that are not in `rows`."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])

    def move(self, origins: Images, threat: Threat, momentum: float) -> None:
        """Take a steepest step, then mix it with the last move."""
        drift = self.images - self.previous
        self.previous = self.images
        step = spread(self.step_size, origins) * threat.steepest(self.gradient)
        target = threat.project(self.images + step, origins)
        mixed = self.images + momentum * (target - self.images) + (1 - momentum) * drift
        self.images = threat.project(mixed, origins)

    def arrive(self, evaluated: Evaluated) -> None:
        """Take note of gradient and value at the new point."""
        self.gradient, self.value, self.outcomes = evaluated
        better = self.value > self.best_value
        pixels = spread(better, self.images)
        self.best = torch.where(pixels, self.images, self.best)
        self.best_gradient = torch.where(pixels, self.gradient, self.best_gradient)
        self.best_value = torch.where(better, self.value, self.best_value)
        self.rises += self.value > self.last_value
        self.last_value = self.value
        self.since += 1

    def judge(self) -> None:
        """Halve the step size where progress stalls, and go back to the best point there."""
        stalled = self.rises <= ENOUGH_RISES * self.since
        stuck = ~self.halved & (self.best_value_judged >= self.best_value)
        self.halved = stalled | stuck
        self.best_value_judged = self.best_value
        self.step_size = torch.where(self.halved, self.step_size / 2, self.step_size)
        pixels = spread(self.halved, self.images)
        self.images = torch.where(pixels, self.best, self.images)
        self.gradient = torch.where(pixels, self.best_gradient, self.gradient)
        self.rises = torch.zeros_like(self.rises)
        self.since = 0
