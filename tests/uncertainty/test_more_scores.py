"""Vacuity, vote disagreement, bounded variance: by hand, at their ends, and under attack."""

import math

import pytest
import torch
from torch import nn

from surefoot.attacks import lower_score, raise_score
from surefoot.certify.smoothing.score_bounds import histogram
from surefoot.threat import Threat
from surefoot.uncertainty import Ensemble, Selective, accepted, score_of
from surefoot.uncertainty.scores import SCORES, bounded_variance, energy, vacuity, vote_disagreement


def test_vacuity_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    assert vacuity(logits, "relu").item() == pytest.approx(3 / (2 + 3))
    amounts = math.log1p(math.exp(2)) + math.log1p(math.exp(-1)) + math.log(2)
    assert vacuity(logits).item() == pytest.approx(3 / (amounts + 3), rel=1e-6)
    amounts = math.exp(2) + math.exp(-1) + 1
    assert vacuity(logits, "exp").item() == pytest.approx(3 / (amounts + 3), rel=1e-6)


@pytest.mark.parametrize("evidence", ["relu", "softplus", "exp"])
def test_vacuity_is_one_without_evidence_and_falls_with_each_piece(evidence, generator):
    nothing = torch.full((1, 4), -200.0)
    assert vacuity(nothing, evidence).item() == pytest.approx(1.0)
    logits = 5 * torch.rand(100, 4, generator=generator)
    values = vacuity(logits, evidence)
    assert bool(((values > 0) & (values < 1)).all())
    assert bool((vacuity(logits + torch.eye(4)[0], evidence) < values).all())
    assert bool(vacuity(torch.tensor([[torch.nan, 0.0]]), evidence).isnan())


def test_vacuity_of_exp_orders_as_the_free_energy(generator):
    logits = 10 * torch.randn(100, 4, generator=generator)
    order = vacuity(logits.double(), "exp").argsort()
    assert torch.equal(order, energy(logits.double()).argsort())


def test_votes_by_hand():
    votes = torch.tensor([[0, 0, 1, 0], [2, 1, 0, 2], [1, 1, 1, 1]])  # three images, four members
    members = 7 * nn.functional.one_hot(votes, 3).float().transpose(0, 1)
    assert vote_disagreement(members).tolist() == [0.25, 0.5, 0.0]
    members[0, 0, 0] = torch.nan
    assert vote_disagreement(members).isnan().tolist() == [True, False, False]


def lines(*biases):
    """Members that see one pixel and change their mind at one half less the bias."""
    nets = []
    for bias in biases:
        net = nn.Linear(1, 2)
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[4.0], [-4.0]]))
            net.bias.copy_(torch.tensor([4 * bias - 2, 2 - 4 * bias]))
        nets.append(net)
    return Ensemble(nets).eval()


def test_a_disagreement_is_found_and_undone_by_attacks():
    """Members change their mind at .4, .5 and .6: between those, one of three disagrees."""
    model, images = lines(0.1, 0.0, -0.1), torch.tensor([[0.2], [0.45]])
    assert score_of(model, images, "vote-disagreement").tolist() == pytest.approx([0, 1 / 3])
    wide = Threat("linf", 0.25)
    up = raise_score(model, images, threat=wide, score="vote-disagreement", steps=20)
    assert score_of(model, up, "vote-disagreement").tolist() == pytest.approx([1 / 3, 1 / 3])
    down = lower_score(model, images, threat=wide, score="vote-disagreement", steps=20)
    assert score_of(model, down, "vote-disagreement").tolist() == pytest.approx([0, 0])
    selective = Selective(model, "vote-disagreement", 0.2)
    assert accepted(selective(images)).tolist() == [True, False]


@pytest.mark.parametrize("score", [name for name in SCORES if name.startswith("vacuity")])
def test_a_selective_classifier_rejects_by_vacuity(score):
    logits = torch.tensor([[9.0, 0.0], [-9.0, -9.0]])
    assert accepted(Selective(nn.Identity(), score, 0.5)(logits)).tolist() == [True, False]


def test_the_bounded_variance_keeps_the_order_and_fits_a_histogram(generator):
    variances = 3 * torch.rand(50, generator=generator)
    found = bounded_variance(variances)
    assert torch.equal(found.argsort(), variances.argsort())
    assert bounded_variance(torch.tensor([0.0, 1.0, 3.0])).tolist() == [0.0, 0.5, 0.75]
    assert histogram(found.unsqueeze(0)).sum().item() == 50
    with pytest.raises(ValueError, match="monotone map"):
        histogram(variances.unsqueeze(0))
