"""Thresholds by coverage and by risk: exact cases, the level by simulation, noise samples."""

import math

import pytest
import torch
from scipy import stats as scipy_stats
from torch import nn

from surefoot.uncertainty import (
    by_coverage,
    by_risk,
    fit_temperature,
    grid_for,
    noisy,
    score_of,
    tempered,
    threshold_at_coverage,
    threshold_at_risk,
)

GRID = torch.tensor([0.3, 0.5, 0.6, 0.7, 0.85, 1.0])


def test_a_risk_by_hand():
    """Ten right scores below each of two wrong ones: the bounds are those of scipy."""
    scores = torch.arange(22) / 22
    wrong = torch.zeros(22, dtype=torch.bool)
    wrong[[10, 21]] = True
    grid = scores[[9, 10, 21]]
    bounds = [scipy_stats.beta.ppf(0.9, k + 1, n - k) for k, n in ((0, 10), (1, 11), (2, 22))]
    assert bounds[1] > bounds[2] > bounds[0]
    found = threshold_at_risk(scores, wrong, bounds[0] + 1e-9, grid=grid, alpha=0.1)
    assert found.threshold == scores[9].item()
    assert (found.coverage, found.wrong) == pytest.approx((10 / 22, 0.0))
    assert found.bound == pytest.approx(bounds[0])
    # The third threshold would pass, but the second failed before: the sequence ends there.
    same = threshold_at_risk(scores, wrong, bounds[2] + 1e-9, grid=grid, alpha=0.1)
    assert same == found
    whole = threshold_at_risk(scores, wrong, bounds[1] + 1e-9, grid=grid, alpha=0.1)
    assert whole.threshold == scores[21].item()
    assert (whole.coverage, whole.wrong) == pytest.approx((1.0, 2 / 22))


def test_no_threshold_is_a_clear_result():
    scores, wrong = torch.rand(50), torch.ones(50, dtype=torch.bool)
    found = threshold_at_risk(scores, wrong, 0.1, grid=GRID)
    assert found.threshold is None
    assert found.coverage == 0
    assert math.isnan(found.wrong)
    assert found.bound == 1.0
    nothing = threshold_at_risk(scores + 2, ~wrong, 0.1, grid=GRID)  # none is accepted
    assert nothing.threshold is None
    unknown = threshold_at_risk(scores * torch.nan, ~wrong, 0.1, grid=GRID)
    assert unknown.threshold is None


RISKS = {
    "rising": (lambda u: 0.3 * u, lambda t: 0.15 * t),  # .09 at .6: the fourth is too much
    "all too large": (lambda u: 0.0905 + 0 * u, lambda t: 0.0905),
    "bad between": (  # .04 at .3, .124 at .5, .089 at .7
        lambda u: torch.where(u < 0.3, 0.04, torch.where(u < 0.5, 0.25, 0.0)),
        lambda t: (0.012 + 0.25 * min(t - 0.3, 0.2)) / t,
    ),
}


@pytest.mark.parametrize("name", RISKS)
def test_the_risk_is_kept_with_the_stated_probability(name, generator):
    """2,000 validation sets; R(t) is known, and near the asked risk where it counts."""
    chance, truth = RISKS[name]
    risk, alpha, trials, broken, passed = 0.09, 0.1, 2000, 0, 0
    scores = torch.rand(trials, 400, generator=generator)
    wrong = torch.rand(trials, 400, generator=generator) < chance(scores)
    for row in range(trials):
        found = threshold_at_risk(scores[row], wrong[row], risk, grid=GRID, alpha=alpha)
        if found.threshold is not None:
            passed += 1
            broken += truth(found.threshold) > risk + 1e-9
    assert broken / trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / trials)
    if name == "rising":
        assert passed / trials > 0.5  # the test has power
        assert broken > 0
    if name == "all too large":
        assert broken / trials > alpha / 4  # and spends its level


def test_a_grid_starts_where_a_test_can_pass(generator):
    scores = torch.rand(5000, generator=generator)
    grid = grid_for(scores, 0.05, count=1000, alpha=0.05)
    assert len(grid) == 20
    assert bool((grid.diff() >= 0).all())
    assert grid[-1] == scores.max()
    fraction = (scores <= grid[0]).float().mean().item()
    assert fraction == pytest.approx(3 * math.log(0.05) / math.log(0.95) / 1000, abs=1e-3)
    fewer = grid_for(scores, 0.05, count=100)  # half would not do: as many as it takes
    needed = math.log(0.05) / math.log(0.95) / 100
    assert (scores <= fewer[0]).float().mean().item() == pytest.approx(needed, abs=1e-3)
    few = grid_for(scores, 0.01, count=100)  # too few images for this risk: one threshold, all
    assert bool((few == scores.max()).all())
    scores[7] = torch.nan
    assert bool(grid_for(scores, 0.05, count=1000).isfinite().all())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"risk": 0.0}, "risk"),
        ({"alpha": 1.0}, "alpha"),
        ({"grid": torch.tensor([0.5, 0.4])}, "rising"),
        ({"grid": torch.tensor([])}, "at least one"),
        ({"scores": torch.rand(0), "wrong": torch.zeros(0, dtype=torch.bool)}, "alike"),
    ],
)
def test_what_cannot_be_tested_raises(arguments, match):
    given = {"scores": torch.rand(5), "wrong": torch.zeros(5, dtype=torch.bool), "risk": 0.1}
    given |= {"grid": GRID} | arguments
    with pytest.raises(ValueError, match=match):
        threshold_at_risk(**given)


class Line(nn.Module):
    """Logits (8 x, -8 x) of one pixel: the margin score is smallest far from 0."""

    def forward(self, images):
        return torch.cat([8 * images, -8 * images], 1)


def test_coverage_of_noise_samples_is_reached_under_noise_and_that_of_clean_ones_is_not():
    model, clean = Line(), torch.full((4000, 1), 0.4) + torch.linspace(0, 0.1, 4000).unsqueeze(1)
    samples = noisy(clean[::2], 0.3, seed=1)
    seen = score_of(model, noisy(clean[1::2], 0.3, seed=2), "margin-uncertainty")
    right = threshold_at_coverage(score_of(model, samples, "margin-uncertainty"), 0.9)
    assert (seen <= right).float().mean().item() == pytest.approx(0.9, abs=0.025)
    without = threshold_at_coverage(score_of(model, clean[::2], "margin-uncertainty"), 0.9)
    assert (seen <= without).float().mean().item() < 0.8


def test_noise_depends_on_image_and_seed_alone(generator):
    images = torch.rand(20, 2, 3, generator=generator)
    samples = noisy(images, 0.5)
    assert torch.equal(noisy(images[5:9], 0.5), samples[5:9])
    assert not torch.equal(noisy(images, 0.5, seed=1), samples)
    assert (samples - images).std().item() == pytest.approx(0.5, rel=0.2)
    assert noisy(images, 0.0) is images
    with pytest.raises(ValueError, match="sigma"):
        noisy(images, -1.0)


class Slope(nn.Module):
    """Two logits, as far apart as the first pixel is bright."""

    def forward(self, images):
        bright = images.flatten(1)[:, :1]
        return torch.cat([4 * bright, torch.zeros_like(bright)], 1)


def test_choices_of_a_model_are_those_of_its_scores():
    images = torch.rand(90, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0, 0, 0] < 0.2).long()
    scores = score_of(Slope(), images, "entropy")
    threshold, accepted = by_coverage(Slope(), images, "entropy", 0.7)
    assert threshold == threshold_at_coverage(scores, 0.7)
    assert accepted == pytest.approx(0.7)
    noisy_threshold, _ = by_coverage(Slope(), images, "entropy", 0.7, sigma=1.0)
    assert noisy_threshold != threshold
    found = by_risk(Slope(), images, labels, "entropy", 0.2)
    grid = grid_for(scores[:30], 0.2, count=60)
    assert found == threshold_at_risk(scores[30:], labels[30:].bool(), 0.2, grid=grid)
    assert found.threshold is not None
    fitted = tempered(Slope(), images, labels)
    assert fitted.temperature == fit_temperature(Slope()(images[:30]), labels[:30])


class Caching(nn.Module):
    """Keeps a tensor of its first pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.kept = nn.Linear(4, 3), None

    def forward(self, x):
        if self.kept is None:
            self.kept = torch.ones(4) * 2
        return self.inner(x * self.kept)


def test_a_model_stays_usable_after_its_threshold_was_chosen():
    model, images = Caching().eval(), torch.rand(30, 4)
    by_coverage(model, images, "entropy", 0.8)
    model(images).sum().backward()
    assert model.inner.weight.grad is not None


def test_labels_of_by_risk_are_those_of_the_border():
    net, images = nn.Linear(4, 2).eval(), torch.rand(60, 4)
    labels = net(images).argmax(1)
    flat = by_risk(net, images, labels, "entropy", 0.3)
    assert by_risk(net, images, labels.unsqueeze(1), "entropy", 0.3) == flat
    for wrong in (
        labels[:30],
        nn.functional.one_hot(labels, 2),
        labels - 100,
        labels.float() + 0.5,
    ):
        with pytest.raises(ValueError, match="labels"):
            by_risk(net, images, wrong, "entropy", 0.3)
    with pytest.raises(ValueError, match="3 images"):
        tempered(net, images[:2], labels[:2])
