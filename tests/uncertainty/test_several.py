"""Models of several members are models: attacked, rejecting, bracketed, certified as any other."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import nn

from surefoot.attacks import autoattack, break_guarantee, lower_score, raise_score, udp
from surefoot.certify import smoothing
from surefoot.data import load
from surefoot.evaluation import Plain, bracket, metrics
from surefoot.guarantees import LabelOrUncertain, Local, TopK
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import (
    DropoutEnsemble,
    Selective,
    accepted,
    score_of,
    threshold_at_coverage,
)
from surefoot.uncertainty.scores import PROCESS_SCORES, entropy

THREAT = Threat("linf", 0.1)
KINDS = ["ensemble", "dropout-ensemble", "due"]


def few_classes(split, count):
    """Take zeros to threes: attacks try every wrong class."""
    data = load("digits", split)
    return replace(data.take(data.labels < 4), classes=data.classes[:4]).first(count)


def make(kind, data):
    if kind == "due" and importlib.util.find_spec("gpytorch") is None:
        pytest.skip("gpytorch (extra gp) is not installed")
    torch.manual_seed(0)
    net = {"name": "mlp", "inputs": 64, "hidden": [24], "classes": 4}
    if kind == "ensemble":
        return build(kind, nets=[net] * 3)
    if kind == "dropout-ensemble":
        head = (nn.Dropout(0.3), nn.ReLU(), nn.Linear(24, 4))
        return DropoutEnsemble(nn.Sequential(nn.Flatten(), nn.Linear(64, 24), *head), draws=3)
    model = build("due", net={**net, "classes": 16}, classes=4, count=len(data), draws=8)
    model.place(data.batch(slice(None))[0])
    return model


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """Trained a little on perturbations of largest entropy of the mean."""
    data = few_classes("train", 300)
    epochs = 15 if request.param == "due" else 5
    training = Training(epochs=epochs, batch_size=50, learning_rate=1e-2)
    net, recipe = (
        make(request.param, data),
        make_recipe("udp", threat=Threat("linf", 0.05), steps=2),
    )
    fit(net, data, recipe, tmp_path_factory.mktemp(request.param), training=training)
    return net


@pytest.fixture(scope="module")
def digits():
    return few_classes("test", 24)


@pytest.fixture
def images(digits):
    return digits.batch(slice(None))[0]


def test_the_bracket_takes_it_for_a_plain_deterministic_net(model, digits):
    record = bracket(
        Plain(model, steps=5), digits, guarantee=Local(), threat=THREAT, limits=False, name="m"
    )
    clean, attacked = metrics.clean_accuracy(record), metrics.attacked_accuracy(record, THREAT.eps)
    assert clean.value > 0.5
    assert attacked.value < clean.value
    assert not [warning for warning in record.header.warnings if "examples" not in warning]


def test_attacks_climb_it(model, digits, images):
    labels = digits.batch(slice(None))[1]
    broken = break_guarantee(model, images, guarantee=TopK(2), threat=THREAT, steps=5)
    assert bool(broken.success.any())
    fast = autoattack(model, images[:10], labels[:10], threat=Threat("linf", 0.3), version="fast")
    assert fast.success.float().mean().item() > 0.5
    stream = torch.Generator().manual_seed(0)
    unsure = udp(model, images, threat=THREAT, steps=5, step_size=0.02, generator=stream)
    assert bool((entropy(model(unsure)) >= entropy(model(images)) - 1e-6).float().mean() > 0.8)


@pytest.mark.parametrize(
    "score", ["mutual-information", "member-variance", "latent-variance", "gp-variance"]
)
def test_its_own_scores_move_the_way_they_are_pushed(model, images, score):
    if score in PROCESS_SCORES and not hasattr(model, "latent_variance"):
        with pytest.raises(ValueError, match="Gaussian process"):
            raise_score(model, images, threat=THREAT, score=score)
        return
    images = images[:8]
    here = score_of(model, images, score)
    up = raise_score(model, images, threat=THREAT, score=score, steps=8)
    down = lower_score(model, images, threat=THREAT, score=score, steps=8)
    assert bool((score_of(model, up, score) > here).all())
    assert bool((score_of(model, down, score) < here).all())
    assert bool(THREAT.inside(up, images).all())


def test_it_may_reject_by_what_its_members_disagree_about(model, digits, images):
    scores = score_of(model, images, "mutual-information")
    threshold = threshold_at_coverage(scores, 0.5) + 1e-5  # ties are rejected
    selective = Selective(model, "mutual-information", threshold).eval()
    with torch.no_grad():
        outcomes = selective(images)
    assert torch.equal(accepted(outcomes), scores <= threshold)
    assert torch.allclose(outcomes[:, :-1], model(images), atol=1e-5)
    classifier = Plain(selective, steps=4)
    record = bracket(
        classifier, digits.first(8), guarantee=LabelOrUncertain(), threat=THREAT, limits=False
    )
    assert record.rows["score"].to_numpy() == pytest.approx(scores[:8].double().numpy(), abs=1e-5)
    assert record.rows["accepted"].tolist() == accepted(outcomes)[:8].tolist()


def test_its_vote_is_certified_by_smoothing(model, images):
    found = smoothing.certify(
        model, images[:4], guarantee=Local(), sigma=0.1, n_select=50, n_certify=300
    )
    assert found.radius.max().item() > 0.05
