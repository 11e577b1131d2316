"""Raise what the search must reach until held-out points confirm what was demanded.

Not here: the part that reports; it is never looked at.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from surefoot.limits.goal import Goal
from surefoot.limits.measures import Measures
from surefoot.limits.regions import Fit, Region

ROUNDS = 12
"""Searches at most, for each number of components."""

STEP = 1.02
"""The least factor by which the cover grows from one search to the next."""

UNSEEN = 2.0
"""The factor where no calibration point lies in the region, so that none can be computed."""

BISECTIONS = 3
"""Searches behind the first that did, for a cover that is large enough and no larger."""

MOST = 4.0
"""Covers above this many times the risk are given up."""


class Attempt(NamedTuple):
    """One region, the goal of its search, and its measures on the calibration part."""

    region: Region
    raised: Goal
    measures: Measures | None


def calibrated(fit: Fit, goal: Goal, measured: Callable[[Region], Measures]) -> Attempt | None:
    """Try `goal.components`, half as many, ... one; return the least expansion that does.

    Every measure that counts is of the calibration part. If none reaches it: the one that comes
    closest to risk and gamma. None: the search found nothing.
    """
    trials, components = [], goal.components
    while components >= 1:
        trials += _raise(fit, replace(goal, components=components), goal, measured)
        components //= 2
    _, _, best = max(trials, key=lambda trial: trial[:2], default=(0.0, 0.0, None))
    return best


def _raise(
    fit: Fit, raised: Goal, goal: Goal, measured: Callable[[Region], Measures]
) -> Iterator[tuple[float, float, Attempt]]:
    """Raise delta and gamma by what is missing, until nothing is or the search finds no more.

    Then delta is brought down again by bisection. Yields closeness to the goal, minus the
    adversarial risk, and what was found.
    """
    before = None
    for _ in range(ROUNDS):
        tried = _try(fit, raised, goal, measured)
        if tried is None:
            return
        yield tried
        closeness, _, attempt = tried
        if closeness == 1:
            yield from _bisect(fit, before, raised, goal, measured)
            return
        assert attempt.measures is not None
        short, certain = _missing(attempt.measures, goal)
        before = raised
        more = UNSEEN if math.isinf(short) else max(STEP, short)
        cover = (1 + raised.delta) * (more if short > 1 else 1.0)
        gamma = raised.gamma + (max(0.02 * goal.gamma, certain) if certain > 0 else 0.0)
        if cover > MOST or gamma > 2:
            return
        raised = replace(raised, delta=cover - 1, gamma=gamma)


def _try(
    fit: Fit, raised: Goal, goal: Goal, measured: Callable[[Region], Measures]
) -> tuple[float, float, Attempt] | None:
    """Search once; return closeness to the goal, minus the adversarial risk, and the region."""
    region = fit(raised)
    if region is None:
        return None
    found = measured(region)
    short, certain = _missing(found, goal)
    closeness = 0.0 if math.isinf(short) else min(1.0, 1 / short)
    if goal.gamma > 0:
        closeness *= min(1.0, 1 - certain / goal.gamma)
    return closeness, -found.adversarial_risk.value, Attempt(region, raised, found)


def _bisect(
    fit: Fit,
    before: Goal | None,
    reached: Goal,
    goal: Goal,
    measured: Callable[[Region], Measures],
) -> Iterator[tuple[float, float, Attempt]]:
    """Look for a smaller cover that does, between the last that did not and the first that did."""
    if before is None:
        return
    low, high = before.delta, reached.delta
    for _ in range(BISECTIONS):
        middle = replace(reached, delta=(low + high) / 2)
        tried = _try(fit, middle, goal, measured)
        if tried is None:
            return
        yield tried
        low, high = (low, middle.delta) if tried[0] == 1 else (middle.delta, high)


def _missing(found: Measures, goal: Goal) -> tuple[float, float]:
    """Return by which factor the risk falls short, and how much label uncertainty is missing."""
    value = "low" if goal.calibrate_to == "limit" else "value"
    risk, gamma = getattr(found.risk, value), getattr(found.label_uncertainty, value)
    short = goal.risk / risk if risk > 0 else math.inf
    if goal.gamma == 0:
        return short, 0.0
    return short, goal.gamma if math.isnan(gamma) else goal.gamma - gamma
