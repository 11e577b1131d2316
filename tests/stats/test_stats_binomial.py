"""Binomial statements against statsmodels and scipy."""

import pytest
import torch
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from surefoot.stats import binomial_p_value, interval, lower_bound, upper_bound


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (700, 1000)])
def test_intervals_agree_with_statsmodels(successes, trials):
    found = interval(successes, trials, alpha=0.05)
    low, high = proportion_confint(successes, trials, 0.05, method="beta")
    assert found.low == pytest.approx(float(low), abs=1e-9)
    assert found.high == pytest.approx(float(high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_bounds_are_valid_statements_rounded_outwards():
    counts = torch.arange(0, 1001)
    low, high = lower_bound(counts, 1000, 1e-3), upper_bound(counts, 1000, 1e-3)
    assert low[0].item() == 0
    assert high[1000].item() == 1
    assert bool((low[1:] > low[:-1]).all())
    # At the bound itself a count this large has probability at most alpha.
    tail = scipy_stats.binom.sf(counts[1:].numpy() - 1, 1000, low[1:].numpy())
    assert (tail <= 1e-3 * (1 + 1e-9)).all()
    tail = scipy_stats.binom.cdf(counts[:-1].numpy(), 1000, high[:-1].numpy())
    assert (tail <= 1e-3 * (1 + 1e-9)).all()


def test_no_success_in_n_draws_leaves_one_minus_alpha_to_the_one_over_n():
    bound = upper_bound(torch.tensor([0.0]), 100, 0.001).item()
    assert bound == pytest.approx(1 - 0.001 ** (1 / 100))


def test_p_values_agree_with_scipy_and_no_trial_is_no_evidence():
    k, n = torch.tensor([0, 5, 9, 10, 0]), torch.tensor([10, 10, 10, 10, 0])
    found = binomial_p_value(k, n)
    for p, a, b in zip(found.tolist(), k.tolist(), n.tolist(), strict=True):
        truth = scipy_stats.binomtest(a, b, 0.5, alternative="greater").pvalue if b else 1.0
        assert p == pytest.approx(truth)


@pytest.mark.parametrize(("k", "n", "alpha"), [(5, 0, 0.1), (5, 10, 0.0), (11, 10, 0.1)])
def test_impossible_counts_raise(k, n, alpha):
    with pytest.raises(ValueError, match=r"trials|successes"):
        lower_bound(torch.tensor([float(k)]), n, alpha)
