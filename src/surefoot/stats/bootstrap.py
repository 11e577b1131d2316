"""Percentile bootstrap intervals of statistics that have no exact one."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from surefoot.stats.binomial import Interval

RESAMPLES, BATCH = 1000, 100


def bootstrap_interval(
    value: float,
    data: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    *,
    paired: bool = False,
    seed: int = 0,
) -> Interval:
    """Return a value with its percentile bootstrap interval (95 %).

    Args:
        value: the statistic of the data.
        data: samples; each is drawn on its own, unless `paired`.
        statistic: of resamples `[R, n]` of each, and `axis`; a NaN is left out.
        paired: draw the same places of all samples.
        seed: of the draws.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    if min(map(len, data)) < 2:
        return Interval(value, value, value)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        # Of the interval of scipy, which is not taken: it knows no NaN.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            data,
            statistic,
            n_resamples=RESAMPLES,
            batch=BATCH,
            vectorized=True,
            paired=paired,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
        if not np.isfinite(found).any():
            return Interval(value, value, value)
        # A draw itself, the outer one: between draws of which one is infinite lies nothing.
        low = float(np.nanquantile(found, 0.025, method="lower"))
        high = float(np.nanquantile(found, 0.975, method="higher"))
    return Interval(value, min(low, value), max(high, value))
