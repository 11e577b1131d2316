"""Bounds for the mean of bounded values by betting: exact in finite samples, for any distribution.

Waudby-Smith, Ramdas 2024, "Estimating means of bounded random variables by betting" (predictable
plug-in bets). A bound holds at every sample size, however few the values and however odd their
distribution; a bootstrap of three values does not.
"""

import math

import numpy as np
import torch
from torch import Tensor

from surefoot.stats.binomial import Interval
from surefoot.stats.bisection import bisection

MOST = 0.75
"""Part of the capital that a bet may lose at most."""
BISECTIONS = 60
NEARLY_ALL = 0.999
"""The same where bets are fixed before the first draw: a value of 0 leaves one thousandth."""
VARIANCES = 0.25 / 4.0 ** torch.arange(8, dtype=torch.float64)
"""For which the bets of `counted_lower_bound` are the best."""
ROUNDING = 1e-9
"""What arithmetic may add to a value at the end of its range."""


def mean_lower_bound(values: np.ndarray, alpha: float) -> float:
    r"""Bound the mean of independent values in [0, 1] from below.

    $$ \inf \{ m : \max_t \prod_{s \le t} (1 + \lambda_s(m) (x_s - m)) < 1 / \alpha \}, \quad
       \lambda_s(m) = \min(\lambda_s, c / m) $$
    with bets $\lambda_s$ that depend on the values before $x_s$ alone. For the true mean the
    product is a non-negative martingale of mean 1 (Ville). It decreases in m, so bisection finds
    the end, on the safe side.

    Args:
        values: `[n]`, independent and of one distribution, in [0, 1], in an order that does not
            depend on them.
        alpha: probability that the bound lies above the mean.

    Returns:
        the bound; 0 for no values.
    """
    if not 0 < alpha < 1 or not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError(f"need values in [0, 1] and 0 < alpha < 1; found alpha {alpha}")
    if len(values) == 0:
        return 0.0
    bets = _bets(values, alpha)
    # A margin of 1e-9 in the log covers the rounding of the sum for a million values.
    enough = math.log(1 / alpha) + 1e-9

    def refuted(mean: Tensor) -> bool:
        return bool(mean > 0) and _log_capital(values, bets, mean.item()) >= enough

    return bisection(0.0, float(values.max()), refuted, BISECTIONS)[0].item()


def mean_interval(
    values: np.ndarray, alpha: float = 0.05, *, low: float = 0.0, high: float = 1.0
) -> Interval:
    """Return the mean of independent values in [low, high] with its betting interval.

    Each side has alpha / 2. Without values the mean is NaN and the interval is [low, high].

    Raises:
        ValueError: a NaN or a value outside [low, high], or no range.
    """
    if len(values) == 0:
        return Interval(math.nan, low, high)
    width = high - low if high > low else np.nan
    scaled = (np.asarray(values, dtype=np.float64) - low) / width
    if not bool(np.all((scaled >= -ROUNDING) & (scaled <= 1 + ROUNDING))):
        raise ValueError(
            f"need values in [low, high], low < high; found another in [{low}, {high}]"
        )
    scaled = np.clip(scaled, 0.0, 1.0)
    mean = float(np.mean(values))
    least = low + (high - low) * mean_lower_bound(scaled, alpha / 2)
    most = high - (high - low) * mean_lower_bound(1 - scaled, alpha / 2)
    return Interval(mean, min(least, mean), max(most, mean))


def counted_lower_bound(values: Tensor, counts: Tensor, alpha: float) -> Tensor:
    r"""Bound means of values in [0, 1] from below, from how often each value was drawn.

    $$ \inf \{ m : \frac{1}{K} \sum_k \prod_j (1 + \lambda_k(m) (v_j - m))^{n_j} < 1 / \alpha \},
       \quad \lambda_k(m) = \min(\lambda_k, c / m) $$
    No bet looks at the draws, so their order does not matter; bets for K variances share the
    capital, and the mean of non-negative martingales is one. It decreases in m.

    Args:
        values: `[J]`, in [0, 1].
        counts: `[B, J]`, independent draws of one distribution a row.
        alpha: probability that a bound lies above its mean.

    Returns:
        `[B]`, float64; 0 without draws.
    """
    draws = counts.sum(1, keepdim=True).double().clamp(min=1)
    bets = (2 * math.log(1 / alpha) / (draws * VARIANCES)).sqrt()  # [B, K]
    enough = math.log(len(VARIANCES) / alpha) + 1e-9

    def refuted(mean: Tensor) -> Tensor:
        bet = torch.minimum(bets, NEARLY_ALL / mean.clamp(min=1e-300).unsqueeze(1))
        gains = torch.log1p(bet.unsqueeze(2) * (values - mean.unsqueeze(1)).unsqueeze(1))
        return (gains @ counts.double().unsqueeze(2)).squeeze(2).logsumexp(1) >= enough

    start = torch.zeros(len(counts), dtype=torch.float64)
    return bisection(start, start + 1, refuted, BISECTIONS)[0]


def _bets(values: np.ndarray, alpha: float) -> np.ndarray:
    """Return for each value the bet chosen from the values before it."""
    steps = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (steps + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (steps + 1)
    before = np.append(0.25, variances[:-1])
    return np.sqrt(2 * math.log(1 / alpha) / (len(values) * before))


def _log_capital(values: np.ndarray, bets: np.ndarray, mean: float) -> float:
    """Return the log of the largest capital on the way, if the mean were this."""
    gains = np.log1p(np.minimum(bets, MOST / mean) * (values - mean))
    return float(np.cumsum(gains).max())
