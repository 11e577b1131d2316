"""Tests that stop early: the level is exact, by brute force and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from surefoot.stats import group_sequential
from surefoot.stats.sequential import FUTILITY, log_evidence_below


def crossing(boundary, fraction):
    """Compute the exact probability of acceptance by a full recursion over all counts."""
    alive, seen, accepted = {0: 1.0}, 0, 0.0
    for look, needed in zip(boundary.looks, boundary.accept, strict=True):
        fresh, seen = look - seen, look
        chances = binom.pmf(np.arange(fresh + 1), fresh, fraction)
        after = np.zeros(look + 1)
        for count, mass in alive.items():
            after[count : count + fresh + 1] += mass * chances
        accepted += after[needed:].sum()
        alive = {count: mass for count, mass in enumerate(after[:needed]) if mass > 0}
    return accepted


@pytest.mark.parametrize("null", [0.5, 0.6915, 0.8413, 0.9772])
@pytest.mark.parametrize("alpha", [0.05, 1e-3])
def test_the_level_is_exact(null, alpha):
    boundary = group_sequential(null, alpha, 500)
    brute = crossing(boundary, null)
    assert brute == pytest.approx(boundary.level, abs=1e-12)
    assert brute <= alpha
    assert brute >= 0.5 * alpha  # whole counts cannot spend all of it at once
    assert crossing(boundary, null - 0.02) < brute


def test_the_level_holds_in_simulation():
    """200,000 runs at the null: at most alpha and three standard errors accept."""
    boundary = group_sequential(0.8413, 0.01, 5_000)
    random, runs = np.random.default_rng(0), 200_000
    counts, alive, seen, accepted = np.zeros(runs, int), np.arange(runs), 0, 0
    for look, needed in zip(boundary.looks, boundary.accept, strict=True):
        counts[alive] += random.binomial(look - seen, 0.8413, len(alive))
        seen, over = look, counts[alive] >= needed
        accepted += int(over.sum())
        alive = alive[~over]
    error = 3 * (0.01 * 0.99 / runs) ** 0.5
    assert accepted / runs <= 0.01 + error
    assert abs(accepted / runs - boundary.level) <= error


@pytest.mark.parametrize(("null", "first"), [(0.6915, 30), (0.8413, 57), (0.97725, 407)])
def test_unanimous_draws_are_accepted_as_early_as_published(null, first):
    boundary = group_sequential(null, 1e-3, 100_000)
    looks = zip(boundary.looks, boundary.accept, strict=True)
    assert next(look for look, needed in looks if needed <= look) == first


@pytest.mark.parametrize(("null", "published"), [(0.6915, 69_700), (0.9772, 97_896)])
def test_the_last_look_needs_hardly_more_than_a_fixed_number_of_draws(null, published):
    boundary = group_sequential(null, 1e-3, 100_000)
    assert boundary.accept[-1] == published
    fixed = binom.isf(1e-3, 100_000, null) + 1
    assert fixed <= boundary.accept[-1] <= fixed + 120


def test_looks_grow_and_end_at_the_last_draw():
    boundary = group_sequential(0.7, 1e-3, 12_345)
    assert boundary.looks[0] == 20
    assert boundary.looks[-1] == 12_345
    assert all(one < other for one, other in zip(boundary.looks, boundary.looks[1:], strict=False))


def test_giving_up_is_rare_where_it_would_be_a_loss_and_leaves_the_level_alone():
    """At a fraction that the last look would accept half of the time, at most 2 % are given up."""
    boundary = group_sequential(0.7, 1e-3, 5_000)
    worth = boundary.accept[-1] / 5_000
    random, runs = np.random.default_rng(1), 20_000
    counts, alive, seen, lost = np.zeros(runs, int), np.arange(runs), 0, 0
    for look, low in zip(boundary.looks[:-1], boundary.give_up[:-1], strict=True):
        counts[alive] += random.binomial(look - seen, worth, len(alive))
        seen, under = look, counts[alive] <= low
        lost += int(under.sum())
        alive = alive[~under]
    assert lost / runs <= FUTILITY
    assert all(low < high for low, high in zip(boundary.give_up, boundary.accept, strict=True))


@pytest.mark.parametrize("bad", [(0.0, 0.1, 10), (1.0, 0.1, 10), (0.5, 0.0, 10), (0.5, 0.1, 0)])
def test_what_makes_no_test_raises(bad):
    with pytest.raises(ValueError, match="0 < null < 1"):
        group_sequential(*bad)


def test_one_draw_is_a_test_too():
    boundary = group_sequential(0.5, 0.6, 1)
    assert boundary.looks == (1,)
    assert boundary.accept == (1,)


def test_evidence_against_a_fraction_has_mean_one_at_most_and_grows():
    counts = np.arange(41)
    values = np.exp([log_evidence_below(int(k), 40, 0.7) for k in counts])
    assert (values * binom.pmf(counts, 40, 0.7)).sum() <= 1
    assert values[0] > 1e6
    assert (np.diff(values) <= 0).all()
