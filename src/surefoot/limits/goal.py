"""What a region of errors must reach, and how it is searched for."""

import math
from dataclasses import dataclass
from typing import Literal

from surefoot.limits.label_uncertainty import points_needed

ROUNDING = 1e-12
"""A mean label uncertainty may miss `gamma` by this much: round-off of its sum."""


@dataclass(frozen=True)
class Goal:
    """The settings of `concentration`, checked when made.

    Args:
        risk: Least measure of the error region, in (0, 1): the error rate of the classifiers in
            question.
        gamma: Least mean label uncertainty of the error region, in [0, 2]; 0 demands nothing.
        eps: Size of the expansion, in the units of the points.
        norm: Norm of the expansion.
        family: Shape of the components of the region: balls around points (l2), cubes around points
            (linf), rectangles (linf: the complement of rectangles around the dense part, whose
            expansion is bounded from above), half-spaces (both); default takes balls or cubes, best
            takes all that fit the norm and chooses on the calibration part.
        components: Number of components of the region, at most; calibration also tries a half, a
            quarter, ... one.
        delta: Cover risk (1 + delta) of the search part, so that held-out points follow;
            calibration starts there and raises it up to a cover of four times the risk.
        constraint: Hold the label uncertainty of the union of components at gamma after every
            component, so that one may use what earlier ones can spare (balls also try the other
            way and keep the smaller expansion), or that of each component, as in the authors'
            program. The complement of rectangles is one component.
        swaps: Rounds in which each ball is taken out and grown anew where that leaves less
            expansion, at most; 0 is the greedy search of the published programs. On few points a
            region fits them better for it and new points hardly.
        calibrate_to: Bring the value on the calibration part up to risk and gamma, as published
            numbers do, or its lower 95 % limit, so that the report part is hardly ever below.
        seed: Seed of the split, of what searches draw and of the intervals, at least 0.
    """

    risk: float
    gamma: float
    eps: float
    norm: Literal["l2", "linf"]
    family: Literal["default", "best", "balls", "cubes", "rectangles", "half-spaces"] = "default"
    components: int = 5
    delta: float = 0.05
    constraint: Literal["union", "component"] = "union"
    swaps: int = 0
    calibrate_to: Literal["value", "limit"] = "value"
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "`risk` must lie in (0, 1)": 0 < self.risk < 1,
            "`gamma` must be a label uncertainty, in [0, 2]": 0 <= self.gamma <= 2,
            "`eps` must be finite and >= 0": 0 <= self.eps < math.inf,
            "`norm` must be 'l2' or 'linf'": self.norm in ("l2", "linf"),
            "`components` must be at least 1": self.components >= 1,
            "`delta` must be finite and >= 0": 0 <= self.delta < math.inf,
            "`swaps` must be at least 0": self.swaps >= 0,
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
