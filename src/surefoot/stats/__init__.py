"""Exact statements about shares: fixed numbers of draws, and tests that stop early."""

from surefoot.stats.betting import mean_interval, mean_lower_bound
from surefoot.stats.binomial import (
    Interval,
    binomial_p_value,
    interval,
    lower_bound,
    upper_bound,
)
from surefoot.stats.discrete import law_error, rounded_normal
from surefoot.stats.evidence import pair_log_evidence
from surefoot.stats.sequential import Boundary, anytime, crossing, group_sequential, looks_of

__all__ = [
    "Boundary",
    "Interval",
    "anytime",
    "binomial_p_value",
    "crossing",
    "group_sequential",
    "interval",
    "law_error",
    "looks_of",
    "lower_bound",
    "mean_interval",
    "mean_lower_bound",
    "pair_log_evidence",
    "rounded_normal",
    "upper_bound",
]
