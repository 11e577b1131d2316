"""Estimates over several random splits, to see how they scatter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from surefoot.limits.concentration import Estimate, PerPoint, concentration


class Spread(NamedTuple):
    """Mean and standard deviation (n - 1) over splits; the latter NaN for one split."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Repeated:
    """Estimates over several splits.

    Attributes:
        estimates: one for each split.
        feasible: fraction of the splits with a region; the rest is over these, NaN if there are
            none.
        valid: fraction of the splits that are valid.
        risk: held-out measure of the region.
        adversarial_risk: held-out measure of its expansion.
        label_uncertainty: held-out mean over the region; without empty regions.
    """

    estimates: tuple[Estimate, ...]
    feasible: float
    valid: float
    risk: Spread
    adversarial_risk: Spread
    label_uncertainty: Spread


def repeated(
    points: Float[Tensor, "N ..."],
    uncertainty: PerPoint,
    *,
    splits: int,
    seed: int = 0,
    **settings: Any,
) -> Repeated:
    """Estimate over `splits` random splits: seeds `seed`, `seed` + 1, ...

    The splits share points, so the standard deviation tells how much one split may mislead; it is
    no standard error of the mean.

    Args:
        points: as for `concentration`.
        uncertainty: as for `concentration`.
        splits: how many.
        seed: of the first.
        settings: of `concentration`, without parts.

    Raises:
        ValueError: as `concentration`; fewer than one split; parts given.
    """
    if splits < 1 or {"search", "calibrate", "report"} & set(settings):
        raise ValueError(
            f"`splits` must be at least 1, and the parts are drawn anew for each; found {splits}"
            f" splits and settings {', '.join(settings)}"
        )
    found = tuple(
        concentration(points, uncertainty, seed=seed + number, **settings)
        for number in range(splits)
    )
    return Repeated(
        found,
        mean(float(estimate.feasible) for estimate in found),
        mean(float(estimate.valid) for estimate in found),
        *(_spread(found, name) for name in ("risk", "adversarial_risk", "label_uncertainty")),
    )


def _spread(found: Sequence[Estimate], name: str) -> Spread:
    values = [getattr(estimate, name).value for estimate in found if estimate.feasible]
    return spread([value for value in values if not math.isnan(value)])


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of what several splits gave."""
    if not values:
        return Spread(math.nan, math.nan)
    return Spread(mean(values), stdev(values) if len(values) > 1 else math.nan)
