"""How numbers read: fractions, intervals, radii, small mappings; one formatter each."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from surefoot.stats.binomial import Interval

NONE = "-"
NORM_SIGNS = {"l2": "\u2113₂", "linf": "\u2113∞"}


def percent(value: float) -> str:
    """Write a fraction.

    >>> percent(0.932)
    '93.2 %'
    """
    return f"{100 * value:.1f} %"


def with_interval(fraction: Interval | None) -> str:
    """Write a fraction with its interval, the ends rounded outwards; `-` for None.

    >>> with_interval(Interval(0.9321, 0.9016, 0.9551))
    '93.2 % [90.1, 95.6]'
    >>> with_interval(Interval(0.5, -math.inf, 0.5))
    '50.0 % [-inf, 50.0]'
    """
    if fraction is None:
        return NONE
    low, high = _rounded(fraction.low, math.floor), _rounded(fraction.high, math.ceil)
    return f"{percent(fraction.value)} [{low:.1f}, {high:.1f}]"


def _rounded(end: float, outwards: Callable[[float], int]) -> float:
    return outwards(1000 * end) / 10 if math.isfinite(end) else end


def radius_text(radius: float, norm: str) -> str:
    """Write a radius; whole multiples of 1/255 in the linf norm as such.

    >>> radius_text(8 / 255, "linf"), radius_text(0.25, "l2")
    ('8/255', '0.25')
    """
    levels = radius * 255
    if norm == "linf" and 0.5 < levels < 1e4 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{radius:.4g}"


def pairs(values: Mapping[str, Any]) -> str:
    """Write a small mapping: `torch 2.13.0, numpy 2.3`."""
    return ", ".join(f"{name} {value}" for name, value in values.items()) or NONE
