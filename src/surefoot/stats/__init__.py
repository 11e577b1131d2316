"""Exact statements about shares: fixed numbers of draws, and tests that stop early."""

from surefoot.stats.binomial import (
    Interval,
    binomial_p_value,
    interval,
    lower_bound,
    upper_bound,
)
from surefoot.stats.sequential import Boundary, group_sequential

__all__ = [
    "Boundary",
    "Interval",
    "binomial_p_value",
    "group_sequential",
    "interval",
    "lower_bound",
    "upper_bound",
]
