"""Exact statements about proportions: fixed numbers of draws, and tests that stop early."""

from surefoot.stats.betting import counted_lower_bound, mean_interval, mean_lower_bound
from surefoot.stats.binomial import (
    Interval,
    binomial_p_value,
    interval,
    lower_bound,
    upper_bound,
)
from surefoot.stats.bisection import bisection
from surefoot.stats.bootstrap import bootstrap_interval
from surefoot.stats.discrete import rounded_normal, tv_error
from surefoot.stats.ranks import rank_correlation
from surefoot.stats.sequential import (
    Boundary,
    group_sequential,
    log_evidence_below,
    looks_of,
)

__all__ = [
    "Boundary",
    "Interval",
    "binomial_p_value",
    "bisection",
    "bootstrap_interval",
    "counted_lower_bound",
    "group_sequential",
    "interval",
    "log_evidence_below",
    "looks_of",
    "lower_bound",
    "mean_interval",
    "mean_lower_bound",
    "rank_correlation",
    "rounded_normal",
    "tv_error",
    "upper_bound",
]
