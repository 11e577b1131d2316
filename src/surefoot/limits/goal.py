"""What a region must reach, and how a search for it may look."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from surefoot.limits.label_uncertainty import points_needed
from surefoot.limits.regions import Region

ROUNDING = 1e-12
"""A mean label uncertainty may miss `gamma` by this much: round-off of its sum."""


@dataclass(frozen=True)
class Goal:
    """What the region must reach, as documented in `concentration`; checked when made."""

    risk: float
    gamma: float
    eps: float
    norm: Literal["l2", "linf"]
    components: int
    delta: float
    constraint: Literal["union", "component"]

    def __post_init__(self) -> None:
        limits = {
            "`risk` must lie in (0, 1)": 0 < self.risk < 1,
            "`gamma` must be a label uncertainty, in [0, 2]": 0 <= self.gamma <= 2,
            "`eps` must be finite and >= 0": 0 <= self.eps < math.inf,
            "`norm` must be 'l2' or 'linf'": self.norm in ("l2", "linf"),
            "`components` must be at least 1": self.components >= 1,
            "`delta` must be finite and >= 0": 0 <= self.delta < math.inf,
            "`constraint` must be 'union' or 'component'": self.constraint
            in ("union", "component"),
        }
        broken = [rule for rule, holds in limits.items() if not holds]
        if broken:
            raise ValueError(
                f"{'; '.join(broken)}; found risk {self.risk:g}, gamma {self.gamma:g},"
                f" eps {self.eps:g}, components {self.components}, delta {self.delta:g}"
            )

    def needed(self, points: int) -> int:
        """Count the points that make up the risk."""
        return points_needed(self.risk, points)

    def budget(self, points: int) -> int:
        """Count the points that the search covers if it can: the risk and `delta` on top."""
        return min(points_needed(self.risk * (1 + self.delta), points), points)


Fit = Callable[[Goal], Region | None]
"""Find a region on points that were prepared once; only gamma, components, delta and constraint may
differ from the goal they were prepared for. None: out of reach."""
