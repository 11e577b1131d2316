"""Exact binomial statements behind every number that has an interval.

Clopper, Pearson 1934. Bounds are rounded to the safe side: the inverse beta function is accurate to
about 1e-13, so every bound is moved outwards by `SLACK`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import bdtrc, betaincinv
from torch import Tensor

SLACK = 1e-12


@dataclass(frozen=True)
class Interval:
    """A value with a confidence interval; `low <= value <= high`."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return the interval as JSON can hold it: what is not finite becomes null."""
        return {name: x if math.isfinite(x) else None for name, x in vars(self).items()}


def _check(successes: Tensor, trials: int, alpha: float) -> None:
    if trials < 1 or not 0 < alpha < 1:
        raise ValueError(f"need trials >= 1 and 0 < alpha < 1; found {trials} and {alpha}")
    if bool((successes < 0).any()) or bool((successes > trials).any()):
        raise ValueError(f"successes must lie in [0, {trials}]")


def lower_bound(successes: Tensor, trials: int, alpha: float) -> Tensor:
    r"""Bound a success probability from below: one-sided Clopper-Pearson.

    $$ L = B^{-1}(\alpha; k, n - k + 1), \quad L = 0 \text{ for } k = 0 $$
    Holds with probability at least 1 - alpha over the draws. Float64, shape of `successes`.
    """
    _check(successes, trials, alpha)
    k = successes.detach().cpu().double().numpy()
    bound = betaincinv(np.maximum(k, 1), trials - np.maximum(k, 1) + 1, alpha) * (1 - SLACK)
    return torch.from_numpy(np.where(k == 0, 0.0, bound)).to(successes.device)


def upper_bound(successes: Tensor, trials: int, alpha: float) -> Tensor:
    """Bound a success probability from above: the mirror image of `lower_bound`."""
    bound = 1 - lower_bound(trials - successes, trials, alpha)
    # Near 1 the difference is rounded by more than a tiny alpha: always outwards.
    return torch.nextafter(bound, torch.full_like(bound, 2.0)).clamp(max=1.0)


def interval(successes: int, trials: int, alpha: float = 0.05) -> Interval:
    """Return a fraction with its two-sided Clopper-Pearson interval, alpha / 2 on each side.

    >>> interval(0, 10)
    Interval(value=0.0, low=0.0, high=0.308497...)
    """
    count = torch.tensor([float(successes)])
    low = lower_bound(count, trials, alpha / 2).item()
    high = upper_bound(count, trials, alpha / 2).item()
    return Interval(successes / trials, low, min(high, 1.0))


def binomial_p_value(successes: Tensor, trials: Tensor, null: float = 0.5) -> Tensor:
    """Return P(X >= successes) for X ~ Bin(trials, null): if small, the probability is larger.

    No trial is no evidence: 1.
    """
    k, n = successes.cpu().double().numpy(), trials.cpu().double().numpy()
    p = np.where(k <= 0, 1.0, bdtrc(np.maximum(k - 1, 0), np.maximum(n, 1).astype(int), null))
    return torch.from_numpy(p).to(successes.device)
