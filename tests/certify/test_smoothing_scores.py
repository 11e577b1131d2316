"""Scores under noise: exact on half-spaces, true in simulation, honest about what is no number."""

import math

import pytest
import torch

from surefoot.certify.smoothing.score_bounds import (
    distribution_bounds,
    histogram,
    mean_bounds,
    quantile_bounds,
)

ndtr, ndtri = torch.special.ndtr, torch.special.ndtri


def test_histograms_count_every_value_once():
    scores = torch.tensor([[0.0, 0.05, 0.1, 0.1001, 1.0, math.nan]], dtype=torch.float64)
    counts = histogram(scores, 10)
    assert counts.tolist() == [[3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        histogram(torch.tensor([[1.5]]))


@pytest.mark.parametrize("bounds", [mean_bounds, distribution_bounds])
def test_bounds_of_an_indicator_approach_the_exact_shift(bounds):
    """u = [w x > 0] has probability p here, and Phi(Phi^-1(p) + rho) a shift along w away."""
    draws = 10_000_000
    counts = torch.zeros(1, 11, dtype=torch.long)
    counts[0, 0], counts[0, 9] = round(0.7 * draws), round(0.3 * draws)
    low, high = bounds(counts, 0.5, 1e-3)
    exact = [ndtr(ndtri(torch.tensor(0.3).double()) + move).item() for move in (-0.5, 0.5)]
    # A value of 0 is counted up to the edge of its bin, and one of 1 down to it.
    assert exact[0] - 0.12 < low.item() <= exact[0]
    assert exact[1] <= high.item() < exact[1] + 0.12


def test_the_distribution_knows_more_than_the_mean():
    """A constant score of one half cannot move; its mean alone could."""
    counts = torch.zeros(1, 101, dtype=torch.long)
    counts[0, 49] = 1_000_000
    low, high = distribution_bounds(counts, 0.5, 1e-3)
    assert high.item() < 0.55
    assert low.item() > 0.45
    assert mean_bounds(counts, 0.5, 1e-3)[1].item() > 0.65


@pytest.mark.parametrize("bounds", [mean_bounds, distribution_bounds])
def test_the_mean_escapes_with_probability_alpha_at_most(bounds, generator):
    """Scores Phi(z + c) with z standard normal; a shift moves c. 2,000 repetitions, level .05."""
    shift, centre, draws = 0.4, -0.5, 400
    fine = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    weight = torch.exp(-(fine**2) / 2) / math.sqrt(2 * math.pi) * (fine[1] - fine[0])
    highest = (weight * ndtr(fine + centre + shift)).sum().item()
    lowest = (weight * ndtr(fine + centre - shift)).sum().item()
    scores = ndtr(torch.randn(2_000, draws, generator=generator) + centre)
    low, high = bounds(histogram(scores, 200), shift, 0.05)
    limit = 0.05 + 3 * (0.05 * 0.95 / 2_000) ** 0.5
    assert (high < highest).double().mean().item() <= limit
    assert (low > lowest).double().mean().item() <= limit
    assert high.mean().item() < highest + 0.25


def test_quantiles_escape_with_probability_alpha_at_most_and_are_close(generator):
    shift, centre, draws = 0.4, -0.5, 1_000
    for level in (0.5, 0.9):
        middle = ndtri(torch.tensor(level)).item()
        highest = ndtr(torch.tensor(middle + centre + shift)).item()
        lowest = ndtr(torch.tensor(middle + centre - shift)).item()
        scores = ndtr(torch.randn(1_000, draws, generator=generator) + centre)
        low, high = quantile_bounds(histogram(scores, 200), level, shift, 0.05)
        limit = 0.05 + 3 * (0.05 * 0.95 / 1_000) ** 0.5
        assert (high < highest).double().mean().item() <= limit
        assert (low > lowest).double().mean().item() <= limit
        assert high.mean().item() < highest + 0.06
        assert low.mean().item() > lowest - 0.06


def test_too_few_draws_bound_nothing():
    counts = torch.zeros(1, 11, dtype=torch.long)
    counts[0, 4] = 3
    assert [end.item() for end in quantile_bounds(counts, 0.5, 2.0, 1e-3)] == [0.0, 1.0]


def test_what_is_no_number_counts_as_both_ends():
    counts = torch.zeros(1, 11, dtype=torch.long)
    counts[0, 4], counts[0, 10] = 500_000, 500_000
    low, high = distribution_bounds(counts, 0.0, 1e-3)
    assert low.item() < 0.21
    assert high.item() > 0.74
