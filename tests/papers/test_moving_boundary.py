"""Theorem 4.1 of UDP: expectation, spread, and where PGD fails, against simulated chains."""

import math

import pytest
import torch

from surefoot.papers.toys.moving_boundary import TwoMeans, moved

MANY = 20_000


@pytest.mark.parametrize(("left", "right", "start"), [(-1.0, 1.0, 0.9), (-1.0, 3.0, 2.8)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_mean_and_spread_are_those_of_the_theorem(left, right, start, rate):
    means = TwoMeans(left, right, rate)
    found = moved(means, "udp", right - left, start=start, steps=150, chains=4000)
    last, deviation = found.boundaries[-1], means.stationary_deviation
    error = deviation / math.sqrt(4000)
    assert last.mean().item() == pytest.approx(means.middle, abs=4 * error + 1e-3)
    assert last.std().item() == pytest.approx(deviation, rel=0.05)
    for step in (1, 5, 20):
        expected = means.expected_after(start, step)
        assert found.boundaries[step].mean().item() == pytest.approx(expected, abs=4 * error)
    assert (found.accuracies == 1).all()


def test_deviations_of_the_facts():
    """The stationary deviation for means at -1 and 1."""
    assert TwoMeans(-1.0, 1.0, 0.1).stationary_deviation == pytest.approx(0.1197, abs=1e-4)
    assert TwoMeans(-1.0, 3.0, 0.5).stationary_deviation == pytest.approx(0.5726, abs=1e-4)


@pytest.mark.parametrize("eps", [0.3, 1.0, 1.5, 5.0])
@pytest.mark.parametrize("boundary", [-0.5, 0.2, 0.9])
def test_one_step_in_expectation(eps, boundary):
    means = TwoMeans(-1.0, 1.0, 0.4)
    found = moved(means, "udp", eps, start=boundary, steps=1, chains=MANY)
    here = torch.tensor([boundary], dtype=torch.float64)
    expected = means.expected(here, eps).item()
    # A step spans at most 0.8, so its mean is off by 5 standard errors with probability 1e-6.
    assert found.boundaries[1].mean().item() == pytest.approx(expected, abs=5 * 0.4 / MANY**0.5)
    if eps >= 2:
        theorem = (1 - 0.2) * boundary
        assert expected == pytest.approx(theorem) == means.expected_after(boundary, 1)


def test_pgd_turns_the_classes_round_above_half_the_gap():
    means = TwoMeans(-1.0, 1.0, 0.1)
    below = moved(means, "pgd", 0.9, start=0.5, steps=40, chains=100)
    assert (below.accuracies == 1).all()
    above = moved(means, "pgd", 1.1, start=0.5, steps=40, chains=100)
    assert (above.accuracies[1::2] == 0).all()  # both means wrong after every second step
    assert (above.accuracies[::2] == 1).all()
    kept = moved(means, "udp", 1.1, start=0.5, steps=40, chains=100)
    assert (kept.accuracies == 1).all()


def test_means_in_order_and_a_rate_below_one():
    for settings in ((1.0, 1.0, 0.1), (0.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="left < right"):
            TwoMeans(*settings)
