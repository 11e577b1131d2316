"""A region measured on points that may or may not have chosen it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.limits.regions import Region
from surefoot.stats import Interval, interval
from surefoot.streams import generator

DRAWS = 1000
LEVEL = 0.05
"""Error probability of each interval."""


@dataclass(frozen=True)
class Measures:
    """A region measured on one part of the points, each figure with its 95 % interval.

    Attributes:
        risk: share of the points in the region (Clopper-Pearson).
        adversarial_risk: share of the points within `eps` of it (Clopper-Pearson).
        label_uncertainty: mean over the points in the region (percentile bootstrap: approximate,
            and narrow for few points); NaN within [0, 2] if there are none.
    """

    risk: Interval
    adversarial_risk: Interval
    label_uncertainty: Interval

    def reach(self, risk: float, gamma: float) -> bool:
        """Say whether the figures themselves reach what was demanded."""
        return self.risk.value >= risk and (gamma == 0 or self.label_uncertainty.value >= gamma)

    def surely_reach(self, risk: float, gamma: float) -> bool:
        """Say whether the lower limits of both reach what was demanded."""
        return self.risk.low >= risk and self.label_uncertainty.low >= gamma


def measure(region: Region, points: Tensor, uncertainty: Tensor, eps: float, seed: int) -> Measures:
    """Count the points in the region and in its expansion; average their uncertainty."""
    inside, reached = region.contains(points), region.expand(eps).contains(points)
    return Measures(
        interval(int(inside.sum()), len(points), LEVEL),
        interval(int(reached.sum()), len(points), LEVEL),
        mean_interval(uncertainty[inside].cpu(), seed),
    )


def mean_interval(values: Tensor, seed: int) -> Interval:
    """Give the mean with its percentile bootstrap interval."""
    if len(values) == 0:
        return Interval(torch.nan, 0.0, 2.0)
    if bool((values == values[0]).all()):
        return Interval(*[values[0].item()] * 3)
    source, size = generator(seed, 1), (len(values),)
    means = torch.stack(
        [values[torch.randint(len(values), size, generator=source)].mean() for _ in range(DRAWS)]
    )
    mean = values.mean().item()
    low, high = torch.quantile(means, means.new_tensor([LEVEL / 2, 1 - LEVEL / 2])).tolist()
    return Interval(mean, min(low, mean), max(high, mean))
