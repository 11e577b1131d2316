"""Theorem 4.1 of UDP: where the boundary between two means goes, by UDP and by PGD."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from surefoot.papers.drawing.lines import THEOREM, curve_panels
from surefoot.papers.experiment import Outcome, Published, compare, point
from surefoot.papers.toys.moving_boundary import Trajectories, TwoMeans, moved
from surefoot.stats import Interval

DRAWN = 40
"""Steps that are drawn."""
NORMAL = 1.96


def expected_movement(
    folder: Path,
    seed: int,
    *,
    means: TwoMeans,
    start: float,
    radii: Sequence[float],
    steps: int,
    count: int,
) -> Outcome:
    """Move the boundary of many chains by UDP and PGD, for balls below and above half the gap.

    Where the balls hold the boundary all the time, the theorem's mean stands as published,
    w* + (1 - eta/2)^n (w_0 - w*).

    Args:
        folder: not used, a run takes seconds.
        seed: of the draws.
        means: of the two classes, and eta.
        start: first boundary.
        radii: eps.
        steps: of training.
        count: chains.
    """
    compared, places, accuracies = [], [], []
    shown = range(min(steps, DRAWN) + 1)
    for method in ("udp", "pgd"):
        for eps in radii:
            path = moved(means, method, eps, start=start, steps=steps, chains=count, seed=seed)
            covered = method == "udp" and eps >= means.right - means.left
            known = {"boundary": means.expected_after(start, steps)} if covered else {}
            compared += _compare(f"{method} {eps:g}", path, known)
            row, panel = f"eps {eps:g}", {"panel": method}
            places += [panel | _point(row, step, path.boundaries) for step in shown]
            accuracies += [panel | _point(row, step, path.accuracies) for step in shown]
    for step in shown:
        theorem = means.expected_after(start, step)
        line = Interval(theorem, theorem, theorem)
        places.append({"panel": "udp"} | point(THEOREM, float(step), line))
    gap = f"half the gap is {means.half_gap:g}"
    moves = pd.DataFrame(places), f"Boundary, mean of {count:,} chains; {gap}", "step", "boundary"
    right = pd.DataFrame(accuracies), f"Accuracy; {gap}", "step", "accuracy"
    figures = {
        "movement": partial(curve_panels, *moves, percent=False),
        "accuracy": partial(curve_panels, *right),
    }
    return Outcome(compared, figures=figures, findings=_findings(means))


def _compare(name: str, path: Trajectories, known: dict[str, float]) -> list[Published]:
    """Measure the last boundary, and the accuracy of the last two steps: that of PGD alternates."""
    last = path.boundaries[-1]
    spread = last.std().item()
    error = NORMAL * spread / math.sqrt(2 * len(last))
    places = {
        "boundary": _mean(last),
        "deviation": Interval(spread, spread - error, spread + error),
    }
    right = {"accuracy": _mean(path.accuracies[-2:].mean(0))}
    return compare(name, places, known, fraction=False) + compare(name, right)


def _point(row: str, step: int, values: Tensor) -> dict[str, Any]:
    return point(row, float(step), _mean(values[step]))


def _mean(values: Tensor) -> Interval:
    mean, error = values.mean().item(), NORMAL * values.std().item() / math.sqrt(len(values))
    return Interval(mean, mean - error, mean + error)


def _findings(means: TwoMeans) -> list[str]:
    return [
        f"Where the balls hold the boundary, it tends to {means.middle:g} in expectation and keeps"
        f" a standard deviation of {means.stationary_deviation:.3f}: at a constant eta it does not"
        " converge.",
        f"Above half the gap, {means.half_gap:g}, the points of PGD pass each other, and every"
        " second classifier has the two classes the wrong way round.",
    ]
