"""Raise what the search is asked for until held-out points confirm what was demanded.

Not here: the part that reports; it is never looked at.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from surefoot.limits.goal import Fit, Goal
from surefoot.limits.measures import Measures
from surefoot.limits.regions import Region

Reach = Literal["value", "limit"]

ROUNDS = 12
"""Searches at most, for each number of pieces."""

STEP = 1.02
"""The least factor by which the cover grows from one search to the next."""

MOST = 4.0
"""Covers beyond this many times the risk are given up."""


class Attempt(NamedTuple):
    """One region, what the search was asked for, and what the calibration part says."""

    region: Region
    asked: Goal
    measures: Measures | None


class _Trial(NamedTuple):
    attempt: Attempt
    reached: bool
    risk: float
    adversarial_risk: float


def calibrated(
    fit: Fit, goal: Goal, look: Callable[[Region], Measures], reach: Reach
) -> Attempt | None:
    """Try `goal.pieces`, half as many, ... one; give the least expansion that reaches the goal.

    Every figure that counts is of the calibration part. If none reaches it: the one that comes
    closest to the risk. None: the search found nothing.
    """
    trials = [_raise(fit, pieces, goal, look, reach) for pieces in _halves(goal.pieces)]
    found = [trial for trial in trials if trial is not None]
    good = [trial for trial in found if trial.reached]
    if good:
        return min(good, key=lambda trial: trial.adversarial_risk).attempt
    best = max(found, key=lambda trial: trial.risk, default=None)
    return None if best is None else best.attempt


def _halves(pieces: int) -> Iterator[int]:
    while pieces >= 1:
        yield pieces
        pieces //= 2


def _raise(
    fit: Fit, pieces: int, goal: Goal, look: Callable[[Region], Measures], reach: Reach
) -> _Trial | None:
    """Raise delta and gamma by what is missing, until nothing is or the search finds no more."""
    asked, last = replace(goal, pieces=pieces), None
    for _ in range(ROUNDS):
        region = fit(asked)
        if region is None:
            break
        found = look(region)
        short, certain = _missing(found, goal, reach)
        last = _Trial(
            Attempt(region, asked, found),
            short <= 1 and certain <= 0,
            found.risk.value,
            found.adversarial_risk.value,
        )
        if last.reached:
            break
        cover = (1 + asked.delta) * (max(STEP, short) if short > 1 else 1.0)
        gamma = asked.gamma + (max(0.02 * goal.gamma, certain) if certain > 0 else 0.0)
        if cover > MOST or gamma > 2:
            break
        asked = replace(asked, delta=cover - 1, gamma=gamma)
    return last


def _missing(found: Measures, goal: Goal, reach: Reach) -> tuple[float, float]:
    """Give by which factor the risk falls short, and how much label uncertainty is missing."""
    value = "low" if reach == "limit" else "value"
    risk, gamma = getattr(found.risk, value), getattr(found.label_uncertainty, value)
    short = goal.risk / risk if risk > 0 else 2.0
    if goal.gamma == 0:
        return short, 0.0
    return short, goal.gamma if math.isnan(gamma) else goal.gamma - gamma
