"""The loop under every fixed-step search: climb, and let each example stop in its own time.

One loop for PGD, FGSM, UDP, back-tracking and early-stopped (friendly) perturbations, in the space
of images or of a layer. Not here: what is climbed (`objectives`), step sizes that adapt (`apgd`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from surefoot.attacks.counted import Evaluated
from surefoot.stats import bisection
from surefoot.threat import Threat, spread
from surefoot.types import Images, Labels

Climb = Callable[[Tensor, Tensor], Evaluated]
"""(points `[b, ...]`, rows `[b]` they belong to) -> the objective and its gradient there."""


class Steepest:
    r"""Projected steepest steps: $x \gets P(x + \mathrm{step\_size} \cdot s(g))$."""

    def __init__(self, origins: Images, threat: Threat) -> None:
        self.origins, self.threat = origins, threat

    def move(self, here: Images, evaluated: Evaluated, rows: Tensor, step_size: float) -> Images:
        """Take the step."""
        moved = here + step_size * self.threat.steepest(evaluated.gradient)
        return self.threat.project(moved, self.origins[rows])

    def finish(self, images: Images, climb: Climb) -> Images:
        """Keep the last points."""
        return images


class Backtracking:
    """Steepest steps, but one that changes the predicted class is taken back and then halved.

    The class is the one predicted at the start. A rejected step counts as a step; it is discovered
    with the gradient at the new point, which is needed anyway: trying costs no pass of its own.
    """

    def __init__(self, start: Images, origins: Images, threat: Threat) -> None:
        self.origins, self.threat = origins, threat
        self.kept, self.headings = start.clone(), torch.zeros_like(start)
        self.fractions = torch.ones(len(start), device=start.device, dtype=start.dtype)
        self.classes = torch.full((len(start),), -1, device=start.device)

    def move(self, here: Images, evaluated: Evaluated, rows: Tensor, step_size: float) -> Images:
        """Take back the last step where it flipped the class; then go on from what is kept."""
        flipped = self._flipped(evaluated, rows)
        back = spread(flipped, here)
        heading = self.threat.steepest(evaluated.gradient)
        self.kept[rows] = torch.where(back, self.kept[rows], here)
        self.headings[rows] = torch.where(back, self.headings[rows], heading)
        self.fractions[rows] *= torch.where(flipped, 0.5, 1.0).to(here)
        length = step_size * spread(self.fractions[rows], here)
        return self.threat.project(
            self.kept[rows] + length * self.headings[rows], self.origins[rows]
        )

    def finish(self, images: Images, climb: Climb) -> Images:
        """Take back the last step too, where it flipped the class."""
        rows = torch.arange(len(images), device=images.device)
        flipped = self._flipped(climb(images, rows), rows)
        return torch.where(spread(flipped, images), self.kept, images)

    def _flipped(self, evaluated: Evaluated, rows: Tensor) -> Tensor:
        found = predicted(evaluated.outcomes)
        known = self.classes[rows]
        self.classes[rows] = torch.where(known < 0, found, known)
        return (known >= 0) & (found != known)


Rule = Steepest | Backtracking
"""How a gradient becomes the next point, and which point is kept at the end."""


def ascend(
    climb: Climb,
    rule: Rule,
    start: Images,
    *,
    counts: Tensor,
    step_sizes: Sequence[float],
    crossed: Callable[[Evaluated, Tensor], Tensor] | None = None,
    extra_steps: int = 0,
) -> Images:
    """Climb from `start`, example i for at most `counts[i]` steps; finished ones leave the batch.

    So the work is the sum of the counts, not their maximum times the batch. Examples must not touch
    each other inside the model: it has to be in eval mode (`models.frozen`).

    Args:
        climb: returns the objective and its gradient at points.
        rule: how to step.
        start: first points.
        counts: steps of each example, at most `len(step_sizes)`.
        step_sizes: length of each step.
        crossed: if given, returns where the boundary is crossed; an example found there takes
            `extra_steps` more steps from there, and stops.
        extra_steps: see `crossed`.

    Returns:
        the points reached.
    """
    images, counts = start.clone(), counts.to(start.device).clone()
    patience = torch.full_like(counts, extra_steps)
    for index, step_size in enumerate(step_sizes):
        rows = (counts > index).nonzero().flatten()
        if len(rows) == 0:
            break
        here = images[rows]
        evaluated = climb(here, rows)
        moved = rule.move(here, evaluated, rows, step_size)
        if crossed is not None:
            over = crossed(evaluated, rows)
            done = over & (patience[rows] == 0)
            patience[rows] -= over.to(patience)
            counts[rows[done]] = index
            moved = torch.where(spread(done, here), here, moved)
        images[rows] = moved
    return rule.finish(images, climb)


def nearest_crossing(
    found: Images, origins: Images, wrong: Callable[[Images], Tensor], bisection_steps: int
) -> Images:
    r"""Halve the way from the origins to `found` until the crossing between them is pinned down.

    $$ x + t (z - x), \quad t \in [0, 1] $$
    with t the end of the last interval that is wrong. Holds if `found` is wrong and the origin is
    not; then the result is wrong and within $2^{-bisection_steps}$ of the way from a right point.

    Args:
        found: points that `wrong` accepts.
        origins: points that it does not.
        wrong: returns which points are behind the boundary.
        bisection_steps: number of passes.
    """
    low = torch.zeros(len(found), device=found.device, dtype=found.dtype)

    def right(part: Tensor) -> Tensor:
        return ~wrong(origins + spread(part, found) * (found - origins))

    _, high = bisection(low, torch.ones_like(low), right, bisection_steps)
    return origins + spread(high, found) * (found - origins)


def predicted(outcomes: Tensor) -> Tensor:
    """Return the class of outcomes `[B, O]`, or of the mean over members `[B, C, M]`."""
    if outcomes.ndim == 3:
        outcomes = outcomes.softmax(1).mean(2)
    return outcomes.argmax(1)


def counts_of(
    step_counts: str, steps: int, examples: int, generator: torch.Generator | None
) -> Labels:
    """Return the number of steps of each example, on the CPU.

    Args:
        step_counts: "uniform" on {1, ..., steps}; "uniform-below" on {1, ..., steps - 1};
            "uniform-from-two" on {2, ..., steps}; all others take `steps` for all.
        steps: the largest number.
        examples: how many.
        generator: source of the draw.
    """
    if step_counts == "uniform":
        return torch.randint(1, steps + 1, (examples,), generator=generator)
    if step_counts == "uniform-below":
        return torch.randint(1, steps, (examples,), generator=generator)
    if step_counts == "uniform-from-two":
        return torch.randint(2, steps + 1, (examples,), generator=generator)
    return torch.full((examples,), steps)
