import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from surefoot.stats import rank_correlation


def test_the_value_is_spearmans():
    source = np.random.default_rng(0)
    x, y = source.normal(size=30), source.integers(0, 4, size=30).astype(float)
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert -1 < found.low < found.value < found.high < 1


def test_intervals_hold_the_correlation_of_normal_pairs():
    # Of normal pairs with correlation r the population value is 6 / pi asin(r / 2).
    source, correlation, runs = np.random.default_rng(1), -0.7, 600
    truth = 6 / math.pi * math.asin(correlation / 2)
    held = 0
    for _ in range(runs):
        x, noise = source.normal(size=(2, 25))
        found = rank_correlation(x, correlation * x + math.sqrt(1 - correlation**2) * noise)
        held += found.low <= truth <= found.high
    assert held >= 0.92 * runs  # .95 in the limit; its standard error is .009


def test_perfect_orders_and_too_few_pairs():
    up = np.arange(8.0)
    found = rank_correlation(up, up**3)
    assert found.value == pytest.approx(1.0)
    assert found.high == 1.0
    swapped = rank_correlation(up, np.array([1.0, 0, 2, 3, 4, 5, 6, 7]))
    assert swapped.low == pytest.approx(found.low)
    assert swapped.value < 1 - 1e-6
    down = rank_correlation(up, -up)
    assert (down.low, down.high) == (-1.0, pytest.approx(-found.low))
    few = rank_correlation(up[:4], up[:4])
    assert (few.low, few.value, few.high) == (-1.0, pytest.approx(1.0), 1.0)


def test_constants_say_nothing_and_bad_input_is_named():
    constant = rank_correlation(np.arange(9.0), np.ones(9))
    assert math.isnan(constant.value)
    assert (constant.low, constant.high) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="one shape"):
        rank_correlation(np.arange(3.0), np.arange(4.0))
    with pytest.raises(ValueError, match="NaN"):
        rank_correlation(np.array([1.0, math.nan]), np.arange(2.0))
