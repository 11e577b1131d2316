"""Bounds of means: they hold at every size and for every distribution, and shrink."""

import math

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy.stats import binom

from surefoot.stats import (
    counted_lower_bound,
    lower_bound,
    mean_interval,
    mean_lower_bound,
    upper_bound,
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_level_holds_exactly_over_all_sequences_of_coin_flips(size, alpha):
    """The probability of all outcomes whose bound lies above the mean."""
    codes = np.arange(2**size)[:, None] >> np.arange(size) & 1
    bounds = np.array([mean_lower_bound(values.astype(float), alpha) for values in codes])
    heads = codes.sum(1)
    for fraction in (0.05, 0.2, 0.5, 0.8, 0.9):
        chances = fraction**heads * (1 - fraction) ** (size - heads)
        assert chances[bounds > fraction].sum() <= alpha


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_the_level_holds_for_thirty_coin_flips(fraction):
    random, false, runs = np.random.default_rng(30), 0, 2000
    for _ in range(runs):
        values = (random.random(30) < fraction).astype(float)
        false += mean_lower_bound(values, 0.1) > fraction
    assert false <= 0.1 * runs + 3 * math.sqrt(0.09 * runs)


def test_equal_values_have_a_width_that_shrinks():
    widths = []
    for size in (2, 10, 100, 1000):
        found = mean_interval(np.full(size, 0.5), 0.05, low=0.0, high=2.0)
        assert found.low < 0.5 < found.high
        assert found.value == 0.5
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1


def test_it_is_not_much_wider_than_the_exact_interval_of_coin_flips():
    values = (np.random.default_rng(0).random(1000) < 0.3).astype(float)
    found = mean_interval(values, 0.05)
    count = values.sum()
    exact = [
        bound(torch.tensor([count]), 1000, 0.025).item() for bound in (lower_bound, upper_bound)
    ]
    assert found.high - found.low < 1.35 * (exact[1] - exact[0])


def test_small_variance_pays():
    random = np.random.default_rng(1)
    narrow = mean_interval(0.5 + 0.01 * random.standard_normal(500).clip(-3, 3))
    wide = mean_interval((random.random(500) < 0.5).astype(float))
    assert narrow.high - narrow.low < 0.4 * (wide.high - wide.low)


def test_no_values_bound_nothing():
    found = mean_interval(np.empty(0), low=-1.0, high=2.0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-1.0, 2.0)


@pytest.mark.parametrize("values", [[-0.1], [1.1], [math.nan]])
def test_values_outside_the_range_raise(values):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        mean_lower_bound(np.array(values), 0.05)


@pytest.mark.parametrize("alpha", [1e-6, 1e-12, 1e-15])
def test_binomial_bounds_hold_for_tiny_levels(alpha):
    with mp.workdps(50):
        for size in (1, 2, 10, 1000):
            high = mpf(upper_bound(torch.tensor([0.0]), size, alpha).item())
            assert (1 - high) ** size <= mpf(alpha)
            high = mpf(upper_bound(torch.tensor([size - 1.0]), size, alpha).item())
            assert 1 - high**size <= mpf(alpha)


@pytest.mark.parametrize("values", [[5.0, 7.0], [0.5, -0.1], [0.5, math.nan]])
def test_values_outside_the_range_are_named(values):
    with pytest.raises(ValueError, match="values in"):
        mean_interval(np.array(values))
    with pytest.raises(ValueError, match="low < high"):
        mean_interval(np.array([1.0]), low=1.0, high=1.0)


def test_bounds_from_counts_are_exact_for_coins():
    """All counts of ten throws, each with its probability: at most alpha lies above."""
    throws, alpha = 10, 0.1
    heads = torch.arange(throws + 1)
    counts = torch.stack([throws - heads, heads], 1)
    bounds = counted_lower_bound(torch.tensor([0.0, 1.0], dtype=torch.float64), counts, alpha)
    assert (bounds.diff() >= 0).all()
    assert bounds[0] == 0
    for chance in np.linspace(0.02, 0.98, 49):
        false = binom.pmf(heads[bounds > chance].numpy(), throws, chance).sum()
        assert false <= alpha


@pytest.mark.parametrize(("one", "other"), [(0.2, 0.2), (2.0, 5.0), (50.0, 50.0)])
def test_bounds_from_counts_lie_above_the_mean_with_probability_alpha_at_most(one, other):
    draws, alpha, runs = 300, 0.05, 2_000
    values = np.random.default_rng(0).beta(one, other, (runs, draws))
    lower = np.floor(values * 100).astype(int)  # a value counts as the lower edge of its bin
    counts = np.stack([np.bincount(row, minlength=101) for row in lower])
    edges = torch.arange(101, dtype=torch.float64) / 100
    bounds = counted_lower_bound(edges, torch.from_numpy(counts), alpha).numpy()
    mean = one / (one + other)
    assert (bounds > mean).mean() <= alpha
    assert bounds.mean() > mean - 0.01 - 4 * (mean * (1 - mean) / draws) ** 0.5


def test_bounds_from_no_counts_are_none():
    edges = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert counted_lower_bound(edges, torch.zeros(1, 2), 0.05).item() == 0
