"""Tests of a fraction that stop as soon as the decision is certain, and reuse every draw.

Looks are taken after n_1 < n_2 < ... draws; the hypothesis "the fraction is above the null" is
accepted at a look with enough successes. The bounds are found by carrying the exact distribution of
the count from look to look, so that all looks together err with probability alpha, without a union
bound (Lan, DeMets 1983, spending of the error; Armitage, McPherson, Rowe 1969, the recursion). A
second, non-binding rule gives up where the fraction is certainly too small to be worth more draws
(an e-process, Robbins 1970): it may cost power, never soundness.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from scipy.special import betainc, betaln

FIRST, RATIO, POWER = 20, 1.12, 0.35
"""First look, growth from look to look, exponent of the error that is spent."""
FUTILITY = 0.02
"""Probability of giving up on a fraction that the last look would accept half of the time."""
NEGLIGIBLE = 1e-17
"""Mass at the ends of a distribution that is not carried on, but counted as an error."""


@dataclass(frozen=True)
class Boundary:
    """A test of "the fraction is above the null", look by look.

    Args:
        null: the fraction to be exceeded.
        alpha: level.
        looks: draws seen at each look.
        accept: successes from which on the hypothesis is accepted at a look; more than the draws
            where no number would do.
        give_up: successes up to which it is given up; -1 where no number would do.
        level: exact probability, at the null, that some look accepts: at most alpha.
    """

    null: float
    alpha: float
    looks: tuple[int, ...]
    accept: tuple[int, ...]
    give_up: tuple[int, ...]
    level: float


@lru_cache(maxsize=4096)
def group_sequential(null: float, alpha: float, draws: int) -> Boundary:
    r"""Find the bounds of a test of level alpha with at most so many draws.

    At look k, with $n_k$ draws, the error spent is at most $\alpha (n_k / N)^{0.35}$.

    Args:
        null: p*, strictly between 0 and 1.
        alpha: level, for every fraction at most p*.
        draws: N, at the last look.

    Raises:
        ValueError: a null, level or number of draws that makes no test.

    Reference: module docstring.
    """
    _check(null, alpha, draws)
    looks = looks_of(draws)
    misses, level = _accepting(null, alpha, looks)
    accept = tuple(n - worst for n, worst in zip(looks, misses, strict=True))
    worth = (min(accept[-1], draws) - 0.5) / draws
    give_up = tuple(_hopeless(worth, n) for n in looks[:-1])
    return Boundary(null, alpha, looks, accept, (*give_up, accept[-1] - 1), level)


def _check(null: float, alpha: float, draws: int) -> None:
    if not (0 < null < 1 and 0 < alpha < 1 and draws >= 1):
        raise ValueError(
            f"need 0 < null < 1, 0 < alpha < 1 and draws >= 1; found {null}, {alpha}, {draws}"
        )


def looks_of(draws: int) -> tuple[int, ...]:
    """Return numbers of draws at which these tests look: growing by an eighth, up to `draws`."""
    found = [min(FIRST, draws)]
    while found[-1] < draws:
        found.append(min(ceil(found[-1] * RATIO), draws))
    return tuple(found)


def _accepting(null: float, alpha: float, looks: tuple[int, ...]) -> tuple[list[int], float]:
    """Return the most misses that accept at each look (-1: none), and the exact level.

    `mass[j]` is the probability that no look has accepted so far and `start + j` draws missed.
    What is dropped at the ends of a distribution is charged as if it had accepted.
    """
    mass, start, spent, seen = np.ones(1), 0, 0.0, 0
    worst = []
    for n in looks:
        fresh, offset, dropped = _misses(n - seen, 1 - null)
        mass, start, seen = np.convolve(mass, fresh), start + offset, n
        spent += dropped
        budget = alpha * (n / looks[-1]) ** POWER * (1 - 1e-9)
        reached = int(np.searchsorted(spent + np.cumsum(mass), budget, side="right"))
        spent += float(mass[:reached].sum())
        worst.append(start + reached - 1 if reached else -1)
        mass, start = mass[reached:], start + reached
        keep = max(int(np.searchsorted(-np.cumsum(mass[::-1])[::-1], -NEGLIGIBLE)), 1)
        spent += float(mass[keep:].sum())
        mass = mass[:keep]
    return worst, spent


def _misses(draws: int, chance: float) -> tuple[np.ndarray, int, float]:
    """Return the distribution of the misses without its ends: probabilities, start, ends."""
    from scipy.stats import binom

    low, high = (int(end) for end in binom.ppf([NEGLIGIBLE, 1 - 1e-16], draws, chance))
    low, high = max(low - 1, 0), min(high + 20, draws)
    mass = binom.pmf(np.arange(low, high + 1), draws, chance)
    ends = binom.cdf(low - 1, draws, chance) + binom.sf(high, draws, chance)
    return mass, low, float(ends)


def _hopeless(worth: float, draws: int) -> int:
    """Return the most successes that refute every fraction from `worth` on, by an e-process."""
    needed = -np.log(FUTILITY)
    return (
        bisect_left(
            range(int(worth * draws) + 1),
            True,
            key=lambda successes: log_evidence_below(successes, draws, worth) < needed,
        )
        - 1
    )


def log_evidence_below(
    successes: np.ndarray | int, draws: np.ndarray | int, null: float
) -> np.ndarray:
    r"""Return the log e-values against "the fraction is at least null".

    $$ e = \frac{\int_0^{p^*} p^{k - 1/2} (1 - p)^{n - k - 1/2} dp}
       {B_{p^*}(1/2, 1/2) \; p^{*k} (1 - p^*)^{n - k}} $$
    for k / n <= p*: there p* has the largest likelihood of the null. Minus infinity above. Its mean
    under the null is at most 1 whenever it is stopped (Robbins 1970; Ville).
    """
    a, b = np.add(successes, 0.5), np.subtract(draws, successes) + 0.5
    with np.errstate(divide="ignore"):  # 0 only above the null, where the answer is known
        mixed = np.log(betainc(a, b, null)) + betaln(a, b)
    mixed -= np.log(betainc(0.5, 0.5, null)) + betaln(0.5, 0.5)
    found = mixed - successes * np.log(null) - (draws - successes) * np.log1p(-null)
    return np.where(successes > null * np.asarray(draws), -np.inf, found)
