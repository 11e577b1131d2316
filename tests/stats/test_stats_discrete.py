"""Whole-number noise: the law by a chi-square test, its moments, the table by brute force."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import chisquare

from surefoot.stats import rounded_normal, tv_error
from surefoot.stats.discrete import CELL, _distribution
from surefoot.streams import bits


@pytest.mark.parametrize("scale", [0.3, 2.0, 63.75])
def test_the_law_is_that_of_a_rounded_gaussian(scale):
    drawn = rounded_normal((400_000,), scale, 3).numpy()
    reach = int(4 * scale) + 2
    edges = np.arange(-reach, reach + 2) - 0.5
    probabilities = np.diff(ndtr(edges / scale))
    seen, _ = np.histogram(drawn, edges)
    common = probabilities * len(drawn) > 20
    expected = np.append(probabilities[common], 1 - probabilities[common].sum()) * len(drawn)
    observed = np.append(seen[common], len(drawn) - seen[common].sum())
    assert chisquare(observed, expected).pvalue > 1e-4


def test_the_lookup_agrees_with_the_table():
    """All 63 bits against every threshold, one by one."""
    raw = bits((20_000,), 5)
    value = raw >> np.uint64(1)
    size = (value[:, None] < _distribution(2.0).thresholds[None]).sum(1)
    sign = np.where(raw & np.uint64(1), -1, 1)
    assert (rounded_normal((20_000,), 2.0, 5).numpy() == sign * size).all()
    assert _distribution(2.0).ambiguous.mean() < 0.01
    assert CELL + 16 == 63


def test_draws_of_a_stream_are_the_first_of_more_draws():
    assert torch.equal(rounded_normal((3, 4), 9.0, 1), rounded_normal((7, 4), 9.0, 1)[:3])
    assert not torch.equal(rounded_normal((3, 4), 9.0, 1), rounded_normal((3, 4), 9.0, 2))


def test_the_error_of_the_law_is_small_and_grows_with_the_pixels():
    assert 0 < tv_error(63.75, 784) < 1e-7
    assert tv_error(63.75, 3072) > tv_error(63.75, 784)
    with pytest.raises(ValueError, match="scale"):
        rounded_normal((2,), 0.0, 1)
