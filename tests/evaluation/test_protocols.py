"""How a net is attacked in the bracket: AutoAttack, PGD, and votes of nets that draw at random."""

import importlib

import pytest
import torch
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.data import load
from surefoot.evaluation import Plain, Smoothed, bracket, metrics
from surefoot.guarantees import LabelOrUncertain, Local, TopK
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import MCDropout, Selective
from surefoot.uncertainty.vote import Vote

THREAT = Threat("linf", 0.08)


@pytest.fixture(scope="module")
def digits():
    return load("digits").first(100)


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    """A net with dropout, trained a little."""
    torch.manual_seed(0)
    net = nn.Sequential(build("mlp", inputs=64, hidden=(64,), classes=32), nn.Dropout(0.3))
    net = nn.Sequential(*net, nn.ReLU(), nn.Linear(32, 10))
    training = Training(epochs=12, batch_size=64, learning_rate=3e-3)
    fit(
        net,
        load("digits", "train"),
        make_recipe("standard"),
        tmp_path_factory.mktemp("net"),
        training=training,
    )
    return net.eval()


def attacked(record):
    return metrics.attacked_accuracy(record, THREAT.eps).value


def run(classifier, data, guarantee=None, **more):
    guarantee = guarantee or Local()
    return bracket(classifier, data, guarantee=guarantee, threat=THREAT, limits=False, **more)


def test_autoattack_is_a_protocol_of_the_bracket(dropping, digits, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("surefoot.attacks.autoattack"), "QUERIES", 30)
    margins = run(Plain(dropping, steps=30), digits)
    standard = run(Plain(dropping, protocol="standard"), digits, folder=tmp_path)
    assert abs(attacked(standard) - attacked(margins)) <= 0.03
    assert "AutoAttack, version standard" in standard.header.attack.name
    assert set(standard.rows["attack"]) <= {"", "clean", "apgd-ce", "apgd-t", "fab-t", "square"}
    assert standard.header.attack.work.costs["square"].forwards > 0
    fast = run(Plain(dropping, protocol="fast"), digits)
    assert "not AutoAttack" in fast.header.attack.name


def test_pgd_says_when_its_steps_cannot_cross_the_ball(dropping, digits):
    trap = run(Plain(dropping, protocol="pgd", steps=40, step_size=THREAT.eps / 30), digits)
    sound = run(Plain(dropping, protocol="pgd", steps=40, step_size=THREAT.eps / 20), digits)
    assert any("diameter" in warning for warning in trap.header.warnings)
    assert not any("diameter" in warning for warning in sound.header.warnings)
    assert metrics.clean_accuracy(sound).value > attacked(sound)


def test_protocols_that_look_for_wrong_labels_refuse_other_questions(dropping, digits):
    with pytest.raises(ValueError, match="protocol margins"):
        run(Plain(dropping, protocol="standard"), digits, TopK(2))
    selective = Plain(Selective(dropping, "entropy", 0.5), protocol="pgd")
    with pytest.raises(ValueError, match="protocol margins"):
        run(selective, digits, LabelOrUncertain())
    with pytest.raises(ValueError, match="belongs to the protocol pgd"):
        Plain(dropping, protocol="fast", step_size=0.1)


def test_a_net_that_draws_at_random_is_judged_by_its_vote(dropping, digits, tmp_path):
    few = digits.first(30)
    quick = VoteSearch(steps=10, draws=4, n_choose=50, n_confirm=300)
    random = MCDropout(dropping)
    vote = Smoothed(Vote(random, 0.0), n_certify=300, search=quick)
    record = run(vote, few, folder=tmp_path)
    assert record.header.certificate is None
    assert record.header.model.classifier == "vote"
    assert record.rows["certified"].isna().all()
    assert metrics.clean_accuracy(record).value > 0.8
    assert metrics.clean_accuracy(record).value > attacked(record) < 0.9
    assert not any("at random" in warning for warning in record.header.warnings)
    assert run(vote, few, folder=tmp_path).header.seconds == record.header.seconds
    again = run(vote, few)
    assert again.rows.equals(record.rows)
    assert again.header.identity == record.header.identity
    single = run(Plain(random, steps=5), few)
    assert any("at random" in warning for warning in single.header.warnings)
