r"""Certificates on a smoothed score of uncertainty, from a histogram of it over noise samples.

A score u in [0, 1] is drawn on samples x + e, e ~ N(0, sigma^2 I), and counted in bins. How far its
mean, or a quantile, can move within a shift of rho = r / sigma follows from the fractions P(u > s):
at most $\Phi(\Phi^{-1}(p) + \rho)$ and at least $\Phi(\Phi^{-1}(p) - \rho)$ (Neyman, Pearson). Bins
only loosen the bounds: a value counts as the upper edge of its bin where it may not be
underestimated, and as the lower edge where it may not be overestimated.

Every bound holds with probability at least 1 - alpha for all shifts at once; both sides together:
give each half of it. Salman et al. 2019 (mean), Kumar et al. 2020 (distribution), Chiang et al.
2020 (quantile).
"""

import math

import torch
from torch import Tensor

from surefoot.stats import counted_lower_bound, lower_bound

Bounds = tuple[Tensor, Tensor]
"""Lower and upper bound, `[B]` float64."""


def histogram(scores: Tensor, bins: int = 100) -> Tensor:
    """Count scores `[B, S]` in [0, 1] in equal bins, `[B, bins + 1]`; NaN goes to the last bin.

    Bin j holds (j / bins, (j + 1) / bins]; 0 falls in the first. The last column counts what is no
    number: it counts as every value, whichever is worse.
    """
    scores = scores.detach().cpu()
    broken = ~scores.isfinite()
    if bool(((scores < 0) | (scores > 1)).where(~broken, torch.tensor(False)).any()):
        raise ValueError(
            "scores must lie in [0, 1]; for unbounded ones (energy) take a monotone map into it,"
            " which leaves quantiles in order"
        )
    place = (scores.double() * bins).ceil().clamp(1, bins).sub(1).where(~broken, float(bins))
    table = torch.zeros(len(scores), bins + 1, dtype=torch.long)
    return table.scatter_add(1, place.long(), torch.ones_like(place, dtype=torch.long))


def mean_bounds(counts: Tensor, shift: float, alpha: float) -> Bounds:
    r"""Bound the mean of the score at any point within the shift, from its mean here.

    $$ \Phi(\Phi^{-1}(\underline u) - \rho), \qquad \Phi(\Phi^{-1}(\overline u) + \rho) $$
    with bounds of the mean here by betting (`stats.counted_lower_bound`).

    Args:
        counts: `[B, bins + 1]` of `histogram`.
        shift: rho.
        alpha: level of each side.
    """
    bins = counts.shape[1] - 1
    edges = torch.arange(bins + 1, dtype=torch.float64) / bins
    # What is no number counts as 0 below and as 1 above.
    low = counted_lower_bound(torch.cat([edges[:-1], edges[:1]]), counts, alpha)
    high = 1 - counted_lower_bound(1 - torch.cat([edges[1:], edges[-1:]]), counts, alpha)
    return _moved(low, -shift), _moved(high, shift)


def distribution_bounds(counts: Tensor, shift: float, alpha: float) -> Bounds:
    r"""Bound the mean of the score at any point within the shift, from its whole distribution.

    $$ \sum_j (s_{j+1} - s_j) \, \Phi(\Phi^{-1}(P(u > s_j) + \epsilon) + \rho), \qquad
       \epsilon = \sqrt{\ln (1 / \alpha) / 2 n} $$
    and below likewise with $s_{j+1}$ and the signs turned: never looser than `mean_bounds` but for
    epsilon, which holds for all s at once (Dvoretzky, Kiefer, Wolfowitz; Massart 1990).

    Args:
        counts: `[B, bins + 1]` of `histogram`.
        shift: rho.
        alpha: level of each side, at most one half.
    """
    if not 0 < alpha <= 0.5:
        raise ValueError(f"the one-sided inequality needs 0 < alpha <= 1/2; found {alpha}")
    numbers, draws = counts[:, :-1].double(), counts.sum(1, keepdim=True).double()
    bins = numbers.shape[1]
    slack = (math.log(1 / alpha) / (2 * draws)).sqrt()
    above = numbers.flip(1).cumsum(1).flip(1)  # u above the lower edge of bin j
    highest = (above + counts[:, -1:]) / draws
    lowest = torch.cat([above[:, 1:], torch.zeros_like(draws)], 1) / draws
    low = _moved(lowest - slack, -shift).sum(1) / bins
    return low, _moved(highest + slack, shift).sum(1) / bins


def quantile_bounds(counts: Tensor, level: float, shift: float, alpha: float) -> Bounds:
    r"""Bound a quantile of the score at any point within the shift by quantiles here.

    The q-quantile there lies between those of levels $\Phi(\Phi^{-1}(q) \mp \rho)$ here, which
    order statistics bound (one binomial statement a side).

    Args:
        counts: `[B, bins + 1]` of `histogram`.
        level: q, strictly between 0 and 1; one half is the median.
        shift: rho.
        alpha: level of each side.

    Returns:
        lower and upper edge; 0 and 1 where the draws do not suffice.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` of a quantile must lie between 0 and 1; found {level}")
    numbers, bins = counts[:, :-1], counts.shape[1] - 1
    draws = int(counts[0].sum())
    centre = torch.special.ndtri(torch.tensor(level, dtype=torch.float64))
    edges = torch.arange(bins + 1).double() / bins
    below = numbers.cumsum(1)
    # Up to the edge s lies certainly more than the raised level: the quantile there is at most s.
    certain = lower_bound(below, draws, alpha) >= torch.special.ndtr(centre + shift)
    high = torch.where(certain.any(1), edges[1:][certain.int().argmax(1)], 1.0)
    # Above s lies certainly more than all but the lowered level: the quantile there is above s.
    above = numbers.flip(1).cumsum(1).flip(1)
    certain = lower_bound(above, draws, alpha) >= torch.special.ndtr(shift - centre)
    last = bins - 1 - certain.flip(1).int().argmax(1)
    return torch.where(certain.any(1), edges[:-1][last], 0.0), high


def _moved(probability: Tensor, shift: float) -> Tensor:
    """Return the fraction to which a probability can move, up or down."""
    inside = probability.clamp(0, 1)
    moved = torch.special.ndtr(torch.special.ndtri(inside) + shift)
    return torch.where(inside == 0, 0.0, torch.where(inside == 1, 1.0, moved))
