"""Decisions at radii: never more errors than alpha, few draws, exact where the truth is known."""

import numpy as np
import pytest
import torch
from oracles import Linear, exact_pairwise
from torch import nn

from surefoot.certify.smoothing import Sampling, certify, decide, radii_from_counts
from surefoot.certify.smoothing.hypotheses import (
    ITSELF,
    OTHERS,
    SampleBudget,
    chosen,
    hypotheses_of,
)
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote


class Drawn(Vote):
    """A vote whose samples fall on outcomes with given probabilities: draws without a net."""

    def __init__(self, probabilities, rule="argmax"):
        object.__setattr__(self, "model", nn.Identity())
        object.__setattr__(self, "sigma", 1.0)
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "probabilities", probabilities)
        object.__setattr__(self, "random", np.random.default_rng(0))

    def increments(self, images, draws, *key, batch_size=2000):
        rows = self.random.multinomial(draws, self.probabilities, size=len(images))
        return Counts.of(torch.from_numpy(rows), rejects=False)


def decided(probabilities, guarantee, radii, *, runs=1_500, alpha=0.05, draws=800, rule="argmax"):
    """Decide many times about one table of probabilities (the last: broken samples)."""
    vote = Drawn(probabilities, rule)
    selection = vote.increments(torch.zeros(runs, 1), 200)
    everywhere = torch.tensor([probabilities[:-1]]).repeat(runs, 1).double()
    sets = guarantee.sets(everywhere)
    best = chosen(selection, sets).view(-1, 1, 1).expand(-1, 1, sets.shape[2])
    return decide(
        vote,
        torch.rand(runs, 1),
        selection,
        sets.gather(1, best),
        guarantee,
        Sampling(radii=tuple(radii), alpha=alpha, n_certify=draws),
    )


CASES = {
    "two bounds": ([0.7, 0.05, 0.15, 0.1, 0.0], Local()),
    "one bound": ([0.7, 0.3, 0.0, 0.0, 0.0], Local()),
    "broken samples": ([0.7, 0.1, 0.0, 0.0, 0.2], Local()),
    "label or uncertain": ([0.5, 0.05, 0.45, 0.0], LabelOrUncertain()),
    "mostly uncertain": ([0.3, 0.05, 0.65, 0.0], LabelOrUncertain()),
    "top 2": ([0.45, 0.35, 0.1, 0.1, 0.0], TopK(2)),
    "relaxed": ([0.42, 0.4, 0.1, 0.08, 0.0], RelaxedTopK(2)),
    "affinity": ([0.42, 0.4, 0.1, 0.08, 0.0], Affinity(((0, 1), (2, 3)))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_radius_that_does_not_hold_is_accepted_with_probability_alpha_at_most(name):
    """Just above the exact radius of the probabilities: 1,500 decisions at level .05."""
    probabilities, guarantee = CASES[name]
    exact = torch.tensor([probabilities[:-1]], dtype=torch.float64)
    sets = guarantee.sets(exact)
    if probabilities[-1] > 0:  # a sample without an outcome is a competitor, too
        shown = torch.tensor([[*probabilities[:-2], probabilities[-1]]], dtype=torch.float64)
        truth = guarantee.smoothed_radii(shown, guarantee.sets(shown), 1.0).amax().item()
    else:
        truth = guarantee.smoothed_radii(exact, sets, 1.0).amax().item()
    found = decided(probabilities, guarantee, [truth + 1e-4])
    fraction = (found.radius > 0).double().mean().item()
    assert fraction <= 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5
    inside = decided(probabilities, guarantee, [0.5 * truth], runs=200, draws=4_000)
    assert (inside.radius > 0).double().mean().item() > 0.9


def test_several_radii_share_samples_and_errors():
    """Nested hypotheses: what lies above the truth is accepted with probability alpha in all."""
    probabilities = [0.7, 0.3, 0.0]
    truth = torch.special.ndtri(torch.tensor(0.7).double()).item()
    found = decided(probabilities, Local(), [0.5 * truth, truth + 1e-4, truth + 0.01, truth + 0.1])
    false = (found.radius > truth).double().mean().item()
    assert false <= 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5
    assert (found.radius >= 0.5 * truth).double().mean().item() > 0.95


def test_clear_cases_take_few_draws_and_close_ones_all():
    clear = decided([0.95, 0.05, 0.0], Local(), [0.5], draws=50_000, alpha=1e-3, runs=200)
    assert clear.samples.double().mean() < 300
    assert bool((clear.radius == 0.5).all())
    hopeless = decided([0.5, 0.5 - 1e-3, 1e-3], Local(), [1.0], draws=50_000, runs=200)
    assert hopeless.samples.double().mean() < 300
    assert bool((hopeless.radius == 0).all())


def test_a_label_that_does_not_win_is_accepted_with_half_of_alpha_at_most():
    """Label and "uncertain" tie: the label does not win, whatever the radius says."""
    found = decided([0.45, 0.1, 0.45, 0.0], LabelOrUncertain(), [0.3])
    assert "accepted" in found.details
    limit = 0.025 + 3 * (0.025 * 0.975 / 1_500) ** 0.5
    assert found.details["accepted"].double().mean().item() <= limit
    clear = decided([0.7, 0.1, 0.2, 0.0], LabelOrUncertain(), [0.3], runs=200, draws=4_000)
    assert "accepted" in clear.details
    assert clear.details["accepted"].double().mean().item() > 0.9
    assert "accepted" not in decided([0.7, 0.1, 0.2, 0.0], Local(), [0.1], runs=10).details


def test_the_majority_rule_is_one_fraction():
    truth = -torch.special.ndtri(torch.tensor(0.05).double()).item()
    probabilities = [0.3, 0.05, 0.65, 0.0]
    false = decided(probabilities, LabelOrUncertain(), [truth + 1e-4], rule="majority")
    assert (false.radius > 0).double().mean().item() <= 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5
    inside = decided(probabilities, LabelOrUncertain(), [0.7 * truth], rule="majority", runs=200)
    assert (inside.radius > 0).double().mean().item() > 0.9


def test_majority_radii_from_counts_are_one_bound_each():
    counts = Counts.of(torch.tensor([[300, 50, 650, 0]]), rejects=True)
    sets = LabelOrUncertain().sets(torch.tensor([[0.3, 0.05, 0.65]]))
    either, _ = radii_from_counts(counts, sets, LabelOrUncertain(), 1.0, 1e-3, rule="majority")
    assert 1.3 < either.item() < 1.6449  # the limit is -Phi^-1(.05)
    counts = Counts.of(torch.tensor([[900, 50, 50, 0]]), rejects=True)
    sets = Local().sets(torch.tensor([[0.9, 0.05, 0.05]]))
    certain, _ = radii_from_counts(counts, sets, Local(), 1.0, 1e-3, rule="majority")
    assert 1.0 < certain.item() < 1.2816


@pytest.mark.parametrize("name", [name for name in CASES if "uncertain" not in name])
@pytest.mark.parametrize("shift", [0.05, 0.3])
def test_hypotheses_imply_the_radius(name, shift):
    """Probabilities that just satisfy every hypothesis certify the radius exactly."""
    probabilities, guarantee = CASES[name]
    counts = (torch.tensor([probabilities]) * 1000).round().long()
    members = guarantee.sets(torch.tensor([probabilities[:-1]], dtype=torch.float64))[:, -1]
    tests = hypotheses_of(counts, members, guarantee, shift, "argmax", SampleBudget(1e-3, 10_000))
    above = tests.nulls[tests.kind == ITSELF]
    below = 1 - tests.nulls[tests.kind == OTHERS]
    if len(above) == 0:  # one statement says it all
        assert tests.nulls.max() >= torch.special.ndtr(torch.tensor(shift))
        return
    assert len(above) == members.sum()
    room = torch.special.ndtri(above.amin()) - torch.special.ndtri(below.amax())
    assert room.item() >= 2 * shift


def test_no_member_needs_what_cannot_be():
    counts = torch.tensor([[90, 10, 0], [50, 50, 0]])
    members = torch.tensor([[True, False], [False, False]])
    tests = hypotheses_of(counts, members, Local(), 0.1, "argmax", SampleBudget(1e-3, 10_000))
    assert tests.seen(counts)[1].tolist() == [0, 0, 0]
    assert tests.nulls[1].max() > 0.5


def test_no_violation_on_linear_classifiers_and_close_radii_hold(generator):
    weight = torch.randn(2, 8, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    images = torch.rand(50, 8, generator=generator)
    radii = [0.1, 0.2, 0.4, 0.8]
    found = certify(
        model,
        images,
        guarantee=Local(),
        sigma=0.5,
        alpha=1e-4,
        radii=radii,
        n_certify=10_000,
    )
    outcomes = model(images).detach()
    truth = (outcomes[:, 0] - outcomes[:, 1]).abs() / exact_pairwise(model)[0, 1].detach()
    assert bool((found.radius <= truth).all())
    expected = torch.tensor([0.0, *radii], dtype=torch.float64)
    below = (expected.unsqueeze(0) <= 0.7 * truth.unsqueeze(1)).sum(1) - 1
    clear = truth < 1.0  # far beyond sigma the samples do not suffice
    held = found.radius[clear] >= expected[below][clear] - 1e-9
    assert held.double().mean().item() >= 0.9
    assert found.samples.double().mean() < 5_000  # of 10,100


def test_decisions_do_not_depend_on_batches(generator):
    model = Linear(torch.randn(3, 6, generator=generator), torch.zeros(3))
    images = torch.rand(30, 6, generator=generator)
    settings = {"guarantee": Local(), "sigma": 0.5, "radii": (0.1, 0.3), "n_certify": 2_000}
    whole = certify(model, images, **settings)
    order = torch.randperm(30, generator=generator)
    mixed = certify(model, images[order], **settings, batch_size=64)
    assert torch.equal(whole.radius[order], mixed.radius)
    assert torch.equal(whole.samples[order], mixed.samples)
    assert torch.equal(whole.details["counts"].table[order], mixed.details["counts"].table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radii": ()}, "above 0"),
        ({"radii": (0.0, 0.1)}, "above 0"),
        ({"radii": (float("inf"),)}, "finite"),
        ({"rule": "majority", "guarantee": TopK(1)}, "majority"),
    ],
)
def test_bad_arguments(change, message):
    model = Linear(torch.eye(3), torch.zeros(3))
    settings = {"guarantee": Local(), "sigma": 0.5, "n_certify": 100} | change
    with pytest.raises(ValueError, match=message):
        certify(model, torch.rand(2, 3), **settings)


def test_radii_of_many_sigma_are_not_accepted():
    """The probability that they need rounds to 1, which no count of samples can show."""
    found = decided([0.999, 0.001, 0.0], Local(), [1.0, 7.5, 9.0, 40.0], runs=5)
    assert bool((found.radius <= 1.0).all())


def test_far_radii_are_accepted_within_the_sample_budget():
    """At 3 sigma a bound on a rare competitor would take 30,000 samples: one bound says it."""
    found = decided([0.9999, 0.0001, 0.0], Local(), [3.0], draws=10_000, alpha=1e-3, runs=200)
    assert (found.radius > 0).double().mean().item() > 0.9
    several = decided(
        [0.9999, 0.0001, 0.0], Local(), [1.0, 2.0, 3.0], draws=10_000, alpha=1e-3, runs=200
    )
    assert (several.radius == 3.0).double().mean().item() > 0.9
