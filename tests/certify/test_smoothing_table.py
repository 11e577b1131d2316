"""One table of counts: what it says for each threshold, the estimators of (ii), data-set bounds."""

import math

import pytest
import torch
from oracles import Linear
from torch import nn

from surefoot.certify.smoothing import (
    UNIT,
    best_threshold,
    count,
    robust_fraction,
    robust_images,
    two_radii,
)
from surefoot.certify.smoothing.score_bounds import histogram
from surefoot.certify.smoothing.table import Table
from surefoot.uncertainty import Selective
from surefoot.uncertainty.scores import entropy
from surefoot.uncertainty.vote import Vote

ndtri = torch.special.ndtri


@pytest.fixture
def net(generator):
    return Linear(3 * torch.randn(4, 6, generator=generator), torch.zeros(4))


def test_one_table_is_every_selective_classifier(net, generator):
    images = torch.rand(3, 6, generator=generator)
    table = count(Vote(net, 0.5), images, 700, 1)
    assert torch.equal(table.votes().table, Vote(net, 0.5).counts(images, 700, 1).table)
    for threshold in (0.1, 0.5, 0.9):
        selective = Selective(net, "entropy", threshold)
        counts = Vote(selective, 0.5).counts(images, 700, 1)
        assert torch.equal(table.votes(threshold).table, counts.table)
    assert table.draws == 700


def test_scores_are_counted_as_the_histogram_counts_them(net):
    images = torch.full((2, 6), 0.4)
    table = count(Vote(net, 0.0), images, 5, 1)
    direct = histogram(entropy(net(images)).unsqueeze(1).expand(-1, 5), 100)
    assert torch.equal(table.scores(), direct)


def test_broken_samples_and_scores_that_are_no_number():
    class Strange(nn.Module):
        def forward(self, images):
            bad = images[:, :1] > 0
            return torch.where(bad, torch.nan, torch.tensor([[2.0, 0.0]]))

    table = count(Vote(Strange(), 1.0), torch.zeros(1, 2), 1000, 1)
    assert 400 < int(table.broken) < 600
    assert int(table.votes(1.0).broken) == int(table.broken)
    assert int(table.scores()[0, -1]) == int(table.broken)


def test_tables_do_not_depend_on_batches(net, generator):
    images = torch.rand(5, 6, generator=generator)
    whole = count(Vote(net, 0.5), images, 600, 1)
    part = count(Vote(net, 0.5), images[3:4], 600, 1, batch_size=77)
    assert torch.equal(whole.joint[3:4], part.joint)


def test_what_makes_no_table(net):
    images = torch.rand(1, 6)
    with pytest.raises(ValueError, match="increase"):
        count(Vote(net, 0.1), images, 10, 1, edges=(0.5, 0.5))
    with pytest.raises(ValueError, match="net inside"):
        count(Vote(Selective(net, "entropy", 0.5), 0.1), images, 10, 1)
    table = count(Vote(net, 0.1), images, 10, 1, edges=(0.2, 0.7))
    with pytest.raises(ValueError, match="one of the 2 edges"):
        table.votes(0.5)
    with pytest.raises(ValueError, match="edges 1 / E"):
        table.scores()


def made(p_label, p_rival, p_unsure, draws=1_000_000):
    """A table of one image: certain samples of two labels, and uncertain ones of the label."""
    joint = torch.zeros(1, 2, 4, dtype=torch.long)
    joint[0, 0, 0], joint[0, 1, 0] = round(p_label * draws), round(p_rival * draws)
    joint[0, 0, 1] = round(p_unsure * draws)
    none = torch.zeros(1, dtype=torch.long)
    return Table(joint, none, (0.5, 1.0))


@pytest.mark.parametrize(
    ("probabilities", "certain", "pairwise", "tight"),
    [
        ((0.70, 0.05, 0.25), 0.599, 1.085, 1.214),
        ((0.50, 0.05, 0.45), 0.063, 0.822, 1.214),
        ((0.30, 0.05, 0.65), 0.0, 0.560, 1.214),
        ((0.90, 0.01, 0.09), 1.311, 1.804, 1.896),
    ],
)
def test_all_estimators_approach_their_exact_values(probabilities, certain, pairwise, tight):
    table = made(*probabilities)
    found = two_radii(table, table, 0.5, 1.0, 1e-3)
    for name, exact in (("certain", certain), ("pairwise", pairwise), ("tight", tight)):
        value = getattr(found, name).item()
        assert exact - 0.02 < value <= exact + 5e-4
    competitor = ndtri(torch.tensor(probabilities[1]).double()).item()
    assert -competitor - 0.02 < found.majority.item() <= -competitor
    plain = ndtri(torch.tensor(probabilities[0] + probabilities[2]).double()).item()
    assert plain - 0.02 < found.one_bound.item() <= plain
    assert bool(found.uncertain) == (probabilities[2] > probabilities[0])


def test_the_threshold_of_the_largest_radius_obeys_the_fraction_of_rejections():
    table = made(0.3, 0.05, 0.65)  # at .5 the vote is uncertain
    labels = torch.tensor([0])
    assert best_threshold(table, table, labels, 1.0, 1e-3, rejected=1.0) == 1.0
    assert best_threshold(table, table, labels, 1.0, 1e-3, rejected=0.0) == 1.0
    rare = made(0.6, 0.05, 0.35)
    rare = Table(rare.joint.clone(), rare.broken, rare.edges)
    rare.joint[0, 1, 1] = 200_000  # uncertain samples of the competitor: rejecting them helps
    rare.joint[0, 0, 1] = 150_000
    assert best_threshold(rare, rare, labels, 1.0, 1e-3, rejected=0.4) == 0.5
    with pytest.raises(ValueError, match="rejects more"):
        best_threshold(_only_low(table), _only_low(table), labels, 1.0, 1e-3, rejected=0.0)


def _only_low(table):
    joint = torch.cat([table.joint[:, :, :1], table.joint[:, :, 1:2], table.joint[:, :, 3:]], 2)
    return Table(joint, table.broken, (0.5,))


def test_bounds_for_a_data_set_fail_as_rarely_as_stated(generator):
    """2,000 data sets of 500 images; images that are not robust are certified falsely at alpha."""
    alpha, level, images, fraction = 0.02, 0.05, 500, 0.6
    failed_here, failed_all = 0, 0
    for _ in range(2_000):
        robust = torch.rand(images, generator=generator) < fraction
        power = torch.rand(images, generator=generator) < 0.97
        chance = torch.rand(images, generator=generator) < alpha
        certified = int(torch.where(robust, power, chance).sum())
        failed_here += robust_images(certified, images, alpha, level) > int(robust.sum())
        failed_all += robust_fraction(certified, images, alpha, level) > fraction
    limit = level + 3 * math.sqrt(level * (1 - level) / 2_000)
    assert failed_here / 2_000 <= limit
    assert failed_all / 2_000 <= limit
    assert robust_images(300, 500, alpha) >= 280
    assert robust_fraction(300, 500, alpha) > 0.53
    with pytest.raises(ValueError, match="certified"):
        robust_fraction(3, 2, alpha)


def test_the_edges_of_scores_in_the_unit_interval():
    assert len(UNIT) == 100
    assert UNIT[-1] == 1.0


def test_scores_without_bounds_choose_thresholds_but_have_no_mean(net):
    images = torch.full((2, 6), 0.4)
    table = count(Vote(net, 0.5), images, 50, 1, score="energy", edges=(-5.0, 0.0))
    assert table.votes(0.0).samples.tolist() == [50, 50]
    with pytest.raises(ValueError, match="vacuity-exp"):
        count(Vote(net, 0.5), images, 50, 1, score="energy").scores()
    count(Vote(net, 0.5), images, 50, 1, score="vacuity-exp").scores()


def test_every_estimator_pays_for_the_error_of_the_noise():
    table = made(0.7, 0.05, 0.25)
    exact, wide = (two_radii(table, table, 0.5, 1.0, 1e-3, error=error) for error in (0.0, 0.01))
    for name in ("one_bound", "plain", "certain", "pairwise", "tight", "majority"):
        assert getattr(wide, name) < getattr(exact, name) - 0.01
