"""Attacks on a vote: a linear vote has a known boundary; a single count is not a success."""

from dataclasses import replace

import pytest
import torch
from oracles import Linear

from surefoot.attacks import VoteSearch, autoattack, break_vote
from surefoot.attacks.vote_attack import vote_fails
from surefoot.data import Data
from surefoot.evaluation import Plain, Smoothed, bracket
from surefoot.evaluation.attack_sweep import (
    Target,
    attack_down,
    attack_grid,
    refine,
    self_check,
    start,
)
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.uncertainty.vote import Vote


def one(*members, outcomes):
    sets = torch.zeros(1, 1, outcomes, dtype=torch.bool)
    sets[..., list(members)] = True
    return sets


@pytest.mark.parametrize(("eps", "falls"), [(0.1, False), (0.3, True)])
def test_a_linear_vote_is_broken_outside_its_distance(eps, falls):
    model = Linear(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([-0.5, 0.5]))
    images = torch.tensor([[0.7, 0.5]] * 5) + torch.linspace(0, 0.01, 5).unsqueeze(1)
    sets = one(0, outcomes=2).expand(5, -1, -1)
    result = break_vote(Vote(model, 0.25), images, sets, Local(), Threat("l2", eps))
    assert result.success.tolist() == [falls] * 5
    assert result.forwards > result.backwards > 0


def test_a_tie_is_confirmed_at_most_at_level_alpha():
    """At the boundary itself the vote is a fair coin: false successes stay below alpha."""
    model = Linear(torch.tensor([[1.0], [-1.0]]), torch.tensor([-0.5, 0.5]))
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 1e-5 * torch.rand(300, 1, generator=generator)  # one stream each
    how = VoteSearch(n_choose=50, n_confirm=200, alpha=0.05)
    fails = vote_fails(
        Vote(model, 0.25), images, one(0, outcomes=2).expand(300, -1, -1), Local(), how, 0
    )
    assert fails.float().mean().item() < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


class Fixed(torch.nn.Module):
    """Outcomes by the first pixel, whatever the rest: probabilities of a Gaussian's slices."""

    rejects = True

    def __init__(self, edges):
        super().__init__()
        self.edges = edges

    def forward(self, images):
        place = torch.bucketize(images.flatten(1)[:, 0].contiguous(), self.edges)
        return torch.nn.functional.one_hot(place, len(self.edges) + 1).float()


def test_some_needs_a_rival_that_beats_every_member():
    edges = torch.special.ndtri(
        torch.tensor([0.45, 0.75])
    )  # probabilities .45 (0), .30 (1), .25 (2 = U)
    vote = Vote(Fixed(edges), 1.0)
    images = torch.zeros(1, 1)
    how = VoteSearch(n_choose=500, n_confirm=4000)
    guarded = one(1, 2, outcomes=3)
    assert bool(vote_fails(vote, images, guarded, LabelOrUncertain(), how, 0))
    safe = one(0, 2, outcomes=3)
    assert not bool(vote_fails(vote, images, safe, LabelOrUncertain(), how, 0))
    assert not bool(vote_fails(vote, images, one(0, outcomes=3), Local(), how, 0))
    assert bool(vote_fails(vote, images, one(1, outcomes=3), Local(), how, 0))


def test_samples_without_a_finite_outcome_compete():
    class Half(torch.nn.Module):
        def forward(self, images):
            logits = torch.stack([images[:, 0] * 0 + 1, images[:, 0] * 0], 1)
            return torch.where(images[:, :1] > 0.5, torch.nan, logits)

    images = torch.tensor([[0.45], [0.6]])
    sets = one(0, outcomes=2).expand(2, -1, -1)
    fails = vote_fails(Vote(Half(), 0.1), images, sets, Local(), VoteSearch(), 0)
    assert fails.tolist() == [False, True]


def test_counts_do_not_depend_on_the_batch(generator):
    model = Linear(torch.randn(3, 6, generator=generator))
    vote, images = Vote(model, 0.5), torch.rand(4, 6, generator=generator)
    whole = vote.counts(images, 1200, 7).table
    assert whole.sum(1).tolist() == [1200] * 4
    parts = [vote.counts(image, 1200, 7, batch_size=33).table for image in images.split(1)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, vote.counts(images, 1200, 8).table)


class Coin(torch.nn.Module):
    """Two classes; the first wins with probability p, by the first pixel, fresh in each call."""

    def forward(self, images):
        p = images.flatten(1)[:, 0]
        heads = (torch.rand(len(p)) < p).float()
        # A straight-through gradient: what an average over many draws would show.
        lead = 2 * heads - 1 + (p - p.detach())
        return torch.stack([lead, -lead], 1)


@pytest.mark.parametrize(("start", "falls"), [(0.9, False), (0.58, True)])
def test_a_random_model_is_broken_only_where_its_vote_is(start, falls):
    """Within .2 of .9 some draws are wrong, but never most; within .2 of .58 most may be."""
    images, labels = torch.full((6, 3), start), torch.zeros(6, dtype=torch.long)
    threat = Threat("linf", 0.2)
    result = autoattack(Coin(), images, labels, threat=threat, version="rand")
    assert result.success.tolist() == [falls] * 6
    again = autoattack(Coin(), images, labels, threat=threat, version="rand")
    assert torch.equal(again.images, result.images)
    sets = one(0, outcomes=2).expand(6, -1, -1)
    voted = break_vote(Vote(Coin(), 0.0), images, sets, Local(), threat)
    assert voted.success.tolist() == [falls] * 6
    # One draw by chance is enough for a protocol that is not made for random models.
    found = autoattack(Coin(), images, labels, threat=threat, version="fast")
    assert bool(found.success.any())


def test_the_votes_of_a_random_model_are_reproducible_and_leave_the_stream_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    images = torch.tensor([[0.3], [0.8]])
    counts = Vote(Coin(), 0.0).counts(images, 2000, 7).table
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(Vote(Coin(), 0.0).counts(images.flip(0), 2000, 7).table.flip(0), counts)
    fractions = counts[:, 0] / 2000
    assert bool(((fractions - images[:, 0]).abs() < 5 * (0.25 / 2000) ** 0.5).all())
    assert counts.sum(1).tolist() == [2000, 2000]


def test_on_a_model_that_is_not_random_rand_is_auto_pgd_on_two_losses(generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(32,)).eval()
    images = torch.rand(24, 1, 8, 8, generator=generator)
    labels = model(images).argmax(1)
    threat = Threat("linf", 0.012)
    result = autoattack(model, images, labels, threat=threat, version="rand")
    assert 0 < result.success.sum() < 24
    plain = autoattack(model, images, labels, threat=threat, version="fast")
    assert (result.success != plain.success).sum() <= 2
    assert bool((model(result.images).argmax(1) != labels)[result.success].all())


@pytest.mark.parametrize(
    ("probabilities", "members", "fails"),
    [
        ((0.30, 0.30), (2,), False),  # no label has more than half: "uncertain" stands
        ((0.30, 0.60), (2,), True),
        ((0.30, 0.30), (0,), True),  # so no label does
        ((0.60, 0.30), (0,), False),
    ],
)
def test_under_the_rule_majority_uncertain_needs_no_probability(probabilities, members, fails):
    edges = torch.special.ndtri(torch.tensor(probabilities).cumsum(0))
    vote = Vote(Fixed(edges), 1.0, rule="majority")
    how = VoteSearch(n_choose=200, n_confirm=2000)
    sets = one(*members, outcomes=3)
    found = vote_fails(vote, torch.zeros(1, 1), sets, Local(), how, 0)
    assert found.tolist() == [fails]


class Stripes(torch.nn.Module):
    """Label 0 for just over half of the places, whatever the attack does."""

    def forward(self, images):
        flat = images.flatten(1)
        first = (flat[:, 0].double() * 1000 % 1) < 0.501
        lead = torch.where(first, 1.0, -1.0)
        return torch.stack([lead + 0.1 * flat.sum(1), -lead], 1)


def test_over_a_grid_of_radii_a_row_is_broken_falsely_with_alpha_at_most():
    """Each radius at level alpha would break up to ten times as many rows (37 of 300 at .05)."""
    images = torch.rand(300, 3, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    data = Data(images, torch.zeros(300, dtype=torch.long), classes=("a", "b"), name="stripes")
    search = VoteSearch(steps=1, draws=2, n_choose=60, n_confirm=200, alpha=0.05)
    smoothed = Smoothed(Vote(Stripes(), 0.25), n_certify=100, search=search)
    record = bracket(
        smoothed,
        data,
        guarantee=Local(),
        threat=Threat("l2", 0.05),
        radii=[0.01 * k for k in range(1, 11)],
        limits=False,
    )
    # The label that holds at the image by 100 samples is the true one in nearly all rows.
    fallen = record.rows["clean"] & (record.rows["attacked"] <= 0.1)
    assert fallen.sum() <= 15 + 3 * 15**0.5


LINE = Linear(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([-0.5, 0.5]))
"""Label 0 right of .5: the vote of an image falls at its distance from there."""
GRID = (0.05, 0.1, 0.2, 0.3, 0.4)


def line_target(*distances):
    images = torch.stack([torch.tensor([0.5 + one, 0.5]) for one in distances])
    sets = one(0, outcomes=2).repeat(len(images), 1, 1)
    search = VoteSearch(n_choose=1000, n_confirm=4000)
    return Target(
        Smoothed(Vote(LINE, 0.25), search=search), images, sets, Local(), Threat("l2", 1.0)
    )


def test_from_the_largest_radius_down_every_row_falls_where_it_does_from_the_smallest_up():
    target = line_target(0.02, 0.06, 0.15, 0.35, 0.45)
    down = attack_down(target, start(target, None), GRID)
    up = refine(target, attack_grid(target, start(target, None), GRID))
    expected = torch.tensor([0.05, 0.1, 0.2, 0.4, torch.inf], dtype=torch.float64)
    assert torch.equal(down.radius, expected)
    assert torch.equal(up.radius, expected)
    assert down.unbroken.any(2)[:, 0].tolist() == [False] * 4 + [True]
    assert [bool(name) for name in down.by] == [True] * 4 + [False]
    distances = torch.tensor([0.02, 0.06, 0.15, 0.35])
    assert bool((down.nearest[:4] > distances).all())
    assert bool((down.nearest[:4] <= down.radius[:4]).all())
    assert down.nearest[4] == torch.inf
    assert down.work.backwards < 0.7 * up.work.backwards
    for (row, _), point in down.found.items():
        assert target.distance(point, row) <= float(down.radius[row])


def test_what_is_certified_is_not_attacked_from_the_largest_radius_down():
    target = line_target(0.15, 0.45)
    certified = torch.tensor([[0.1], [0.4]], dtype=torch.float64)
    sweep = attack_down(target, start(target, certified), GRID, skip_certified=True)
    assert sweep.radius.tolist() == [0.2, torch.inf]
    assert sweep.work.skipped_certified == 2  # the first at .1, the second at .4


def test_an_attack_that_fails_in_the_largest_ball_alone_is_told_and_the_row_falls(monkeypatch):
    honest = Smoothed.attack

    def short_sighted(self, images, sets, guarantee, threat):
        near = replace(threat, eps=threat.eps if threat.eps < 0.2 else 1e-3)
        return honest(self, images, sets, guarantee, near)

    monkeypatch.setattr(Smoothed, "attack", short_sighted)
    target = line_target(0.02, 0.45, 0.3)
    target.sets[2] = False  # wrong at the image: nothing to break, and no distance
    sweep = attack_down(target, start(target, None), GRID)
    assert sweep.radius.tolist() == [torch.inf, torch.inf, 0.0]
    checked = self_check(target, sweep, GRID)
    assert checked.radius.tolist() == [0.05, torch.inf, 0.0]
    assert checked.nearest.tolist() == [0.05, torch.inf, torch.inf]
    assert (checked.work.retried, checked.work.missed) == (2, 1)


class Tally(torch.nn.Module):
    """Count the images that a linear net sees."""

    seen = 0

    def forward(self, images):
        self.seen += len(images)
        return LINE(images)


@pytest.mark.parametrize(
    ("place", "fails", "least", "most"),
    [(0.2, True, 200, 350), (0.8, False, 50, 50), (0.49, False, 600, 1200)],
)
def test_a_clear_count_ends_a_confirmation_and_a_close_one_does_not(place, fails, least, most):
    how, tally = VoteSearch(n_choose=200, n_confirm=1000), Tally()
    image = torch.tensor([[place, 0.5]])
    found = vote_fails(Vote(tally, 0.25), image, one(0, outcomes=2), Local(), how, 0)
    assert bool(found) == fails
    assert least <= tally.seen <= most


def test_levels_are_shared_by_radii_bisection_and_ends():
    smoothed = Smoothed(Vote(Stripes(), 0.25), search=VoteSearch(alpha=0.08))
    assert smoothed.for_radii(2).search.alpha == pytest.approx(
        0.08 / (2 * 2 + smoothed.bisection_steps + 1)
    )
    assert smoothed.search.alpha == 0.08
    plain = Plain(Stripes())
    assert plain.for_radii(5) is plain
