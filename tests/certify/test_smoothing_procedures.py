"""Other ways to a smoothing certificate: a tolerance, whole-number noise."""

import pytest
import torch
from oracles import Linear, exact_pairwise
from test_smoothing_decisions import CASES, Drawn
from torch import nn

from surefoot.certify.smoothing import Sampling, certify
from surefoot.certify.smoothing.tolerance import radii_within
from surefoot.guarantees import Local, TopK
from surefoot.uncertainty.vote import Vote

LIMIT = 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5


def exact(name):
    probabilities, guarantee = CASES[name]
    shown = torch.tensor([probabilities[:-1]], dtype=torch.float64)
    if probabilities[-1] > 0:  # a sample without an outcome is a competitor, too
        shown = torch.tensor([[*probabilities[:-2], probabilities[-1]]], dtype=torch.float64)
    return guarantee.smoothed_radii(shown, guarantee.sets(shown), 1.0).amax().item()


@pytest.mark.parametrize("name", CASES)
def test_stopping_at_a_tolerance_errs_with_probability_alpha_at_most(name):
    probabilities, guarantee = CASES[name]
    runs, draws = 3_000, 3_200
    everywhere = torch.tensor([probabilities[:-1]]).double().expand(runs, -1)
    sets = guarantee.sets(everywhere)
    sampling = Sampling(tolerance=0.2, alpha=0.05, n_certify=draws)
    vote = Drawn(probabilities)
    radii, samples, _ = radii_within(vote, torch.rand(runs, 1), sets, guarantee, sampling)
    truth = guarantee.smoothed_radii(everywhere[:1], sets[:1], 1.0)
    if probabilities[-1] > 0:
        truth = truth.new_full(truth.shape, exact(name))
    wrong = (radii > truth + 1e-9).any(1).double().mean().item()
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert samples.double().mean() < 0.9 * draws
    best = radii.amax(1).mean().item()
    assert best > truth.amax().item() - 0.25


def test_a_tolerance_saves_samples_and_costs_about_as_much_radius(generator):
    weight = torch.randn(2, 8, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    images = torch.rand(20, 8, generator=generator)
    settings = {"guarantee": Local(), "sigma": 0.5, "n_certify": 20_000}
    whole = certify(model, images, **settings)
    near = certify(model, images, **settings, tolerance=0.05)
    assert bool((near.samples < whole.samples).any())
    assert (whole.radius - near.radius).amax().item() < 0.1
    outcomes = model(images).detach()
    truth = (outcomes[:, 0] - outcomes[:, 1]).abs() / exact_pairwise(model)[0, 1].detach()
    assert bool((near.radius <= truth).all())


def test_whole_number_noise_certifies_what_floating_noise_does(generator):
    weight = torch.randn(2, 16, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    images = torch.randint(256, (30, 16), generator=generator) / 255
    settings = {"guarantee": Local(), "sigma": 0.5, "n_certify": 5_000}
    floating = certify(model, images, **settings)
    whole = certify(model, images, **settings, levels=255)
    assert 0 < whole.details["tv_error"] < 1e-8
    assert floating.details["tv_error"] is None
    outcomes = model(images).detach()
    truth = (outcomes[:, 0] - outcomes[:, 1]).abs() / exact_pairwise(model)[0, 1].detach()
    # Rounding is part of the classifier: it moves the border by half a step of the grid at most.
    assert bool((whole.radius <= truth + 16**0.5 / 510).all())
    assert (whole.radius - floating.radius).abs().mean().item() < 0.05


def test_samples_under_whole_number_noise_sit_on_the_grid():
    seen = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images * 255)
            return torch.zeros(len(images), 2)

    images = torch.tensor([[0.0, 0.2, 1.0], [0.1234, 0.5, 0.3]])
    vote = Vote(Watching(), 0.1, 255)
    vote.counts(images, 50, 1)
    samples = torch.cat(seen)
    assert (samples - samples.round()).abs().max() < 1e-3
    assert samples.std() > 10
    with pytest.raises(ValueError, match="k / 255"):
        vote.tv_error(images)
    assert vote.tv_error(images[:1]) > 0
    assert vote.tv_error(torch.arange(256).view(1, -1) / 255) > 0
    with pytest.raises(ValueError, match="k / 255"):  # 3072 such pixels move a radius by 2e-4
        vote.tv_error(images[:1].double() + 9e-4 / 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0.1, "radii": (0.1,)}, "largest radii"),
        ({"rule": "majority", "guarantee": TopK(1)}, "majority"),
        ({"levels": 255}, "8-bit"),
    ],
)
def test_choices_that_do_not_fit(change, message):
    model = Linear(torch.eye(3), torch.zeros(3))
    settings = {"guarantee": Local(), "sigma": 0.5, "n_certify": 100} | change
    with pytest.raises(ValueError, match=message):
        certify(model, torch.rand(2, 3), **settings)


def test_choices_that_contradict_themselves():
    with pytest.raises(ValueError, match="above 0"):
        Sampling(tolerance=0.0)


def test_a_step_of_a_test_keeps_to_the_size_of_a_pass():
    sizes = []

    class Watching(nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            return torch.stack([images[:, 0], 1 - images[:, 0]], 1)

    vote, images = Vote(Watching(), 0.5), torch.tensor([[0.4], [0.6]])
    counts = vote.increments(images, 300, 1, batch_size=64)
    assert max(sizes) == 64
    assert torch.equal(counts.table, vote.increments(images, 300, 1).table)
