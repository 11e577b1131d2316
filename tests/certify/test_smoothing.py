"""Smoothing: simulated coverage, linear oracles, the conditional-vote trap, awkward counts."""

import math

import pytest
import torch
from oracles import Linear, exact_pairwise, random_linear
from torch import nn

from surefoot.certify.smoothing import certify, radii_from_counts
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.stats import lower_bound, upper_bound
from surefoot.uncertainty.counts import Counts

ndtri = torch.special.ndtri


def table(*row):
    """Counts of the outcomes and, last, of samples without a finite outcome."""
    return Counts.of(torch.tensor([row]), rejects=False)


def test_one_class_is_the_two_bound_form_and_never_below_the_one_bound_form():
    counts = table(700, 50, 250, 0)
    sets = torch.tensor([[[True, False, False]]])
    found, _ = radii_from_counts(counts, sets, Local(), 0.5, 1e-3)
    low = lower_bound(torch.tensor([700.0]), 1000, 5e-4)
    high = upper_bound(torch.tensor([250.0]), 1000, 5e-4)
    expected = 0.25 * (ndtri(low) - ndtri(torch.minimum(high, 1 - low)))
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    one_bound = 0.5 * ndtri(low)
    assert found.item() >= one_bound.item() - 1e-9


@pytest.mark.parametrize(
    ("trials", "expected"), [(100, 0.532), (1_000, 0.907), (10_000, 1.028), (100_000, 1.067)]
)
def test_intersection_union_has_the_published_gain(trials, expected):
    """R / sigma at p_A = .7, p_B = .05 of 10 classes, counts at their expectation."""
    row = [round(0.7 * trials), round(0.05 * trials)] + [0] * 9
    row[2] = trials - sum(row)
    row[2:10] = [row[2] // 8 + (1 if i < row[2] % 8 else 0) for i in range(8)]
    sets = torch.zeros(1, 1, 10, dtype=torch.bool)
    sets[..., 0] = True
    found, _ = radii_from_counts(table(*row), sets, Local(), 1.0, 1e-3)
    assert found.item() == pytest.approx(expected, abs=2e-3)


def test_label_or_uncertain_counts_the_union_instead_of_adding_bounds():
    sets = torch.tensor([[[True, False, True]]])
    for trials, alone in [(1_000, 0.985), (10_000, 1.141), (100_000, 1.191)]:
        counts = table(trials // 2, trials // 20, trials * 45 // 100, 0)
        found, more = radii_from_counts(counts, sets, LabelOrUncertain(), 1.0, 1e-3)
        # alpha / 4 for the radius alone; one more bound certifies acceptance with it.
        assert alone - 0.01 < found.item() < alone
        assert bool(more["accepted"].item()) == (trials > 1_000)


@pytest.mark.parametrize(
    ("guarantee", "probabilities", "sets"),
    [
        (Local(), (0.5, 0.3, 0.2), [[0]]),
        (TopK(2), (0.4, 0.3, 0.2, 0.1), [[0, 1]]),
        (RelaxedTopK(2), (0.4, 0.3, 0.2, 0.1), [[0], [0, 1]]),
        (LabelOrUncertain(), (0.4, 0.25, 0.1, 0.25), [[0, 3]]),
    ],
    ids=repr,
)
def test_radii_are_false_at_most_with_probability_alpha(guarantee, probabilities, sets):
    """Simulated counts: a radius is false if it exceeds the exact radius of these probabilities."""
    generator, alpha, repeats, trials = torch.Generator().manual_seed(0), 0.05, 4000, 300
    p = torch.tensor([probabilities], dtype=torch.float64)
    members = torch.zeros(1, len(sets), p.shape[1], dtype=torch.bool)
    for row, group in enumerate(sets):
        members[0, row, group] = True
    exact = guarantee.smoothed_radii(p, members, 1.0)
    draws = torch.multinomial(p.expand(repeats, -1), trials, replacement=True, generator=generator)
    counts = Counts.of(nn.functional.one_hot(draws, p.shape[1] + 1).sum(1), rejects=False)
    found, _ = radii_from_counts(counts, members.expand(repeats, -1, -1), guarantee, 1.0, alpha)
    wrong = (found > exact).any(1).double().mean().item()
    assert wrong <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / repeats)
    assert bool((found > 0).any())


def test_no_violation_and_a_tight_radius_on_linear_classifiers(generator):
    weight = torch.randn(2, 8, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)  # the boundary runs through the middle of the box
    images = torch.rand(60, 8, generator=generator)
    found = certify(
        model, images, guarantee=Local(), sigma=0.5, alpha=1e-6, n_certify=5000, batch_size=777
    )
    outcomes = model(images).detach()
    truth = (outcomes[:, 0] - outcomes[:, 1]).abs() / exact_pairwise(model)[0, 1].detach()
    assert bool((found.radius <= truth).all())
    middle = (truth > 0.25) & (truth < 0.7)
    assert bool(middle.any())
    assert (found.radius / truth)[middle].mean().item() > 0.75
    assert found.samples.tolist() == [5100] * 60


class Conditional(nn.Module):
    """Logits (0, ln 9 z) on the line, certain where the larger softmax exceeds .9."""

    rejects = True

    def forward(self, images):
        z = images[:, :1]
        logits = torch.cat([torch.zeros_like(z), math.log(9) * z], 1)
        confident = logits.softmax(1).amax(1, keepdim=True) > 0.9
        uncertain = torch.where(confident, -100.0, 100.0)
        return torch.cat([logits, uncertain], 1)


def test_fractions_of_accepted_samples_would_be_unsound_and_joint_ones_are_not():
    """At -.1 the fraction of the accepted would certify .190855; the true boundary is .1 away."""
    p_low, p_high = torch.special.ndtr(torch.tensor([-1 + 0.1, -1 - 0.1]).double())
    conditional = (p_low / (p_low + p_high)).item()
    assert ndtri(torch.tensor(conditional)).item() == pytest.approx(0.190855, abs=1e-5)
    probabilities = torch.stack([p_low, p_high, 1 - p_low - p_high]).unsqueeze(0)
    sets = torch.tensor([[[True, False, True]]])
    pairwise_form = Local().smoothed_radii(
        probabilities[:, :2], torch.tensor([[[True, False]]]), 1.0
    )
    assert pairwise_form.item() == pytest.approx(0.1, abs=1e-6)
    counts = (probabilities * 100_000).round().long()
    counts = Counts.of(nn.functional.pad(counts, (0, 1)), rejects=True)
    local, _ = radii_from_counts(counts, torch.tensor([[[True, False, False]]]), Local(), 1.0, 1e-3)
    assert local.item() == 0.0  # uncertain is the top outcome
    either, _ = radii_from_counts(counts, sets, LabelOrUncertain(), 1.0, 1e-3)
    # "Uncertain" holds 68 % of the samples: the other label needs a far longer way to win the vote.
    exact = LabelOrUncertain().smoothed_radii(probabilities, sets, 1.0).item()
    assert 0 < either.item() <= exact
    # A label wins the vote only where its probability beats U: solve for that shift directly.
    shift = torch.linspace(0, 5, 50_001).double()
    high = torch.special.ndtr(-1 - 0.1 + shift)
    low = torch.special.ndtr(-1 + 0.1 - shift)
    true_boundary = shift[(high >= 1 - high - low) & (high >= low)][0].item()
    assert either.item() <= true_boundary


def test_nan_samples_are_broken():
    class Nan(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 3), torch.nan)

    found = certify(Nan(), torch.rand(2, 4), guarantee=Local(), sigma=0.1, n_certify=100)
    assert found.radius.tolist() == [0.0, 0.0]
    assert found.details["counts"].broken.tolist() == [100, 100]


def test_half_of_the_samples_broken_certifies_nothing():
    sets = torch.tensor([[[True, False]]])
    found, _ = radii_from_counts(table(480, 0, 520), sets, Local(), 1.0, 1e-3)
    assert found.item() == 0.0


def test_ties_in_the_selection_leave_nothing_to_certify():
    constant = Linear(torch.zeros(3, 4))
    found = certify(constant, torch.rand(1, 4), guarantee=TopK(2), sigma=0.1, n_certify=100)
    assert found.radius.item() == 0.0


def test_the_largest_radius_that_n_allows():
    sets = torch.tensor([[[True, False]]])
    found, _ = radii_from_counts(table(100, 0, 0), sets, Local(), 1.0, 1e-3)
    assert found.item() == pytest.approx(ndtri(torch.tensor(5e-4 ** (1 / 100)).double()).item())


@pytest.mark.parametrize(
    "guarantee", [Local(), TopK(2), RelaxedTopK(2), Affinity(((0, 1), (2,)))], ids=repr
)
def test_results_do_not_depend_on_batches(guarantee, generator):
    model, images = random_linear(4, 6).float(), torch.rand(3, 6, generator=generator)
    whole = certify(model, images, guarantee=guarantee, sigma=0.4, n_certify=1300)
    for row, image in enumerate(images):
        one = certify(
            model, image[None], guarantee=guarantee, sigma=0.4, n_certify=1300, batch_size=99
        )
        assert torch.equal(one.radii[0], whole.radii[row])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "0 < alpha < 1"),
        ({"n_certify": 0}, "n_certify >= 1"),
        ({"sigma": 0.0}, "sigma"),
        ({"guarantee": LabelOrUncertain()}, "rejects = True"),
        ({"guarantee": TopK(3)}, "3 of 3"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"guarantee": Local(), "sigma": 0.5, "n_certify": 10, **change}
    with pytest.raises(ValueError, match=message):
        certify(random_linear(3, 4).float(), torch.rand(1, 4), **arguments)
