"""Evidence: mean 1 at most under the null, the supremum by brute force, false alarms at alpha."""

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from scipy.stats import binom, multinomial, norm

from surefoot.stats.evidence import (
    log_evidence_above,
    log_evidence_below,
    pair_log_evidence,
)


def pair(member, rival, draws, shift):
    counts = (torch.tensor([part]) for part in (member, rival, draws))
    return pair_log_evidence(*counts, torch.tensor([shift], dtype=torch.float64)).item()


def test_a_share_has_evidence_of_mean_one_at_most():
    """At the share it speaks against; the same from above and from below."""
    counts = np.arange(41)
    below = np.exp([log_evidence_below(int(k), 40, 0.7) for k in counts])
    above = np.exp([log_evidence_above(int(k), 40, 0.3) for k in counts])
    assert (below * binom.pmf(counts, 40, 0.7)).sum() <= 1
    assert np.allclose(below, above[::-1])
    assert above[-1] > 1e6


@pytest.mark.parametrize(
    ("member", "rival", "draws", "shift"),
    [
        (70, 5, 100, 0.3),
        (50, 40, 100, 0.2),
        (95, 0, 100, 0.5),
        (700, 100, 1000, 0.8),
        (60, 0, 60, 0.9),
        (70, 30, 100, 0.3),
        (99_000, 500, 100_000, 1.5),
    ],
)
def test_a_pair_is_compared_with_the_likeliest_masses_of_the_null(member, rival, draws, shift):
    rest = draws - member - rival
    t = shift - np.geomspace(1e-9, 12, 1_000_000)  # fine where the rest has no mass left
    free = np.log(np.maximum(norm.cdf(-t) - norm.cdf(t - 2 * shift), 1e-300))
    likely = member * norm.logcdf(t) + rival * norm.logcdf(t - 2 * shift)
    most = (likely + (rest * free if rest else 0)).max()
    log_beta = [
        sum(gammaln(part) for part in parts) - gammaln(sum(parts))
        for parts in ((member + 0.5, rival + 0.5, rest + 0.5), (0.5, 0.5, 0.5))
    ]
    expected = log_beta[0] - log_beta[1] - most
    assert pair(member, rival, draws, shift) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("top", [0.55, 0.75, 0.9])
def test_a_pair_has_evidence_of_mean_one_at_most(top):
    """Every outcome of 30 draws, masses on the border of the null."""
    shift, draws = 0.3, 30
    rival = norm.cdf(norm.ppf(top) - 2 * shift)
    if top + rival > 1:
        top = norm.cdf(shift) - 1e-6
        rival = norm.cdf(-shift)
    a, b = (part.ravel() for part in np.meshgrid(np.arange(31), np.arange(31)))
    a, b = a[a + b <= draws], b[a + b <= draws]
    counts = (torch.from_numpy(part) for part in (a, b, np.full_like(a, draws)))
    logs = pair_log_evidence(*counts, torch.tensor(shift, dtype=torch.float64)).numpy()
    masses = [top, rival, max(1 - top - rival, 0.0)]
    chances = multinomial.pmf(np.stack([a, b, draws - a - b], 1), draws, masses)
    assert chances.sum() == pytest.approx(1, abs=1e-6)
    assert (np.exp(logs) * chances).sum() <= 1


def test_a_pair_watched_all_the_time_errs_with_probability_alpha_at_most():
    """4,000 runs at the border, looked at 30 times."""
    shift, top, alpha = 0.4, 0.6, 0.05
    guess = torch.tensor([60.5, 31.0, 10.5])
    rival = norm.cdf(norm.ppf(top) - 2 * shift)
    random, runs = np.random.default_rng(0), 4_000
    counts = np.zeros((runs, 3), int)
    ever, nearer = np.zeros(runs, bool), np.zeros(runs, bool)
    for look in range(1, 31):
        counts += random.multinomial(40, [top, rival, 1 - top - rival], size=runs)
        parts = (torch.from_numpy(counts[:, 0]), torch.from_numpy(counts[:, 1]))
        draws = torch.full((runs,), 40 * look)
        for seen, claimed in ((ever, shift), (nearer, 0.7 * shift)):
            at = torch.tensor(claimed, dtype=torch.float64)
            seen |= pair_log_evidence(*parts, draws, at, guess).numpy() >= -np.log(alpha)
    assert ever.mean() <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert nearer.mean() > 0.5  # what is true is found


def test_shares_that_obey_the_null_are_no_evidence():
    assert pair(50, 50, 100, 0.1) <= 0
    assert pair(0, 10, 10, 0.1) <= 0
