"""A region measured on points that may or may not have chosen it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.limits.regions import Region
from surefoot.stats import Interval, interval, mean_interval
from surefoot.streams import generator

LEVEL = 0.05
"""Error probability of each interval."""


@dataclass(frozen=True)
class Measures:
    """A region measured on one part of the points, each value with its 95 % interval.

    Attributes:
        risk: fraction of the points in the region (Clopper-Pearson).
        adversarial_risk: fraction of the points within `eps` of it (Clopper-Pearson).
        label_uncertainty: mean over the points in the region (betting: exact for any number of
            points); NaN within [0, 2] if there are none.
    """

    risk: Interval
    adversarial_risk: Interval
    label_uncertainty: Interval

    def reaches(self, risk: float, gamma: float) -> bool:
        """Return whether the values themselves reach what was demanded."""
        return self.risk.value >= risk and (gamma == 0 or self.label_uncertainty.value >= gamma)

    def certainly_reaches(self, risk: float, gamma: float) -> bool:
        """Return whether the lower limits of both reach what was demanded."""
        return self.risk.low >= risk and self.label_uncertainty.low >= gamma


def measure(region: Region, points: Tensor, uncertainty: Tensor, eps: float, seed: int) -> Measures:
    """Count the points in the region and in its expansion; average their uncertainty."""
    inside, reached = region.contains(points), region.expand(eps).contains(points)
    return Measures(
        interval(int(inside.sum()), len(points), LEVEL),
        interval(int(reached.sum()), len(points), LEVEL),
        uncertainty_interval(uncertainty[inside].cpu(), seed),
    )


def uncertainty_interval(values: Tensor, seed: int) -> Interval:
    """Return the mean of label uncertainties in [0, 2] with its 95 % betting interval.

    The values are taken in a random order: bets must not see how the source has sorted them.
    """
    shuffled = values[torch.randperm(len(values), generator=generator(seed, 1))]
    return mean_interval(shuffled.cpu().double().numpy(), LEVEL, low=0.0, high=2.0)
