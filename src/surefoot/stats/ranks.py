"""Does one number fall while another rises: rank correlation with its interval."""

import math
from statistics import NormalDist

import numpy as np

from surefoot.stats.binomial import Interval

LEAST = 5
"""With fewer pairs every correlation is possible: the interval is [-1, 1]."""


def rank_correlation(first: np.ndarray, second: np.ndarray, alpha: float = 0.05) -> Interval:
    r"""Correlate ranks (Spearman), ties sharing their mean rank.

    $$ \tanh\left(\operatorname{artanh} \rho \pm z_{1 - \alpha / 2}
    \sqrt{\frac{1 + \rho^2 / 2}{n - 3}}\right) $$
    Holds for independent pairs, approximately, at level alpha; the error of each number is part
    of its scatter. A perfect correlation has an infinite artanh: there the interval starts where
    that of the next less perfect order does, one exchange of neighbours, and ends at 1.

    Args:
        first: [n], finite.
        second: [n], finite.
        alpha: error probability of the interval.

    Returns:
        The coefficient; NaN within [-1, 1] if one side is constant or there are fewer than 2 pairs,
        and [-1, 1] around it with fewer than 5.

    Reference: Bonett, Wright, Psychometrika 65, 2000.
    """
    from scipy.stats import rankdata

    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    if first.shape != second.shape or first.ndim != 1 or not finite:
        raise ValueError(
            "`first` and `second` must be finite and have one shape [n]; found shapes"
            f" {first.shape} and {second.shape}, or a NaN or an infinity"
        )
    count = len(first)
    if count < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Interval(math.nan, -1.0, 1.0)
    value = float(np.clip(np.corrcoef(rankdata(first), rankdata(second))[0, 1], -1.0, 1.0))
    if count < LEAST:
        return Interval(value, -1.0, 1.0)
    most = 1 - 12 / (count * (count**2 - 1))
    near = min(max(value, -most), most)
    width = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt((1 + near**2 / 2) / (count - 3))
    low, high = (math.tanh(math.atanh(near) + side * width) for side in (-1, 1))
    return Interval(value, -1.0 if value < -most else low, 1.0 if value > most else high)
