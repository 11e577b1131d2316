"""Scores against their definitions; the extra column against the rule it stands for."""

import math

import pytest
import torch
from scipy import stats as scipy_stats

from surefoot.uncertainty import Selective, accepted, threshold_at_coverage
from surefoot.uncertainty.scores import SCORES, entropy


def test_scores_agree_with_their_definitions(generator):
    logits = 3 * torch.randn(50, 4, generator=generator)
    p = logits.double().softmax(1)
    best = p.sort(1, descending=True).values
    expected = {
        "least-confidence": 1 - best[:, 0],
        "entropy": torch.from_numpy(scipy_stats.entropy(p.numpy(), axis=1)) / math.log(4),
        "margin-uncertainty": 1 - best[:, 0] + best[:, 1],
        "energy": -logits.double().logsumexp(1),
        "vacuity-relu": 4 / (logits.double().clamp(min=0) + 1).sum(1),
        "vacuity-softplus": 4 / (logits.double().exp().log1p() + 1).sum(1),
        "vacuity-exp": 4 / (logits.double().exp() + 1).sum(1),
    }
    for name, score in SCORES.items():
        assert torch.allclose(score(logits).double(), expected[name], atol=1e-5)


def test_scores_stay_finite_for_huge_gaps():
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    for score in SCORES.values():
        value = score(logits)
        assert bool(value.isfinite())
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("score", list(SCORES))
def test_the_column_wins_exactly_where_the_score_exceeds_the_threshold(score, generator):
    logits = 1000 * torch.randn(2000, 5, generator=generator)
    logits[:1000] /= 1000
    values = SCORES[score](logits)
    threshold = values.median().item()
    outcomes = Selective(torch.nn.Identity(), score, threshold)(logits)
    assert torch.equal(outcomes.argmax(1) == 5, values > threshold)
    assert not bool((accepted(outcomes) & (values > threshold)).any())
    assert torch.equal(outcomes[:, :5], logits)


def test_a_nan_score_counts_as_uncertain():
    outcomes = Selective(torch.nn.Identity(), "entropy", 0.5)(torch.tensor([[torch.nan, 0.0]]))
    assert not bool(accepted(outcomes).any())


def test_threshold_accepts_the_coverage(generator):
    scores = torch.rand(1000, generator=generator)
    for coverage in (0.5, 0.95, 1.0):
        threshold = threshold_at_coverage(scores, coverage)
        assert (scores <= threshold).float().mean().item() == pytest.approx(coverage, abs=1e-3)
    with pytest.raises(ValueError, match="coverage"):
        threshold_at_coverage(scores, 0.0)


def test_an_unknown_score_names_the_known_ones():
    with pytest.raises(ValueError, match="least-confidence, entropy"):
        Selective(torch.nn.Identity(), "sureness")


def test_entropy_can_be_climbed_through_the_column():
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    column = Selective(torch.nn.Identity(), "entropy", 0.1)(logits)[:, -1]
    (gradient,) = torch.autograd.grad((column - logits.amax(1)).sum(), logits)
    (direct,) = torch.autograd.grad(entropy(logits).sum(), logits)
    assert torch.allclose(gradient, direct, atol=1e-6)
