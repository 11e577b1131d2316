"""Ensembles: the mean by hand, members trained each as if alone, equal after a kill."""

import copy
import math

import pytest
import torch
from oracles import Linear
from scipy import stats as scipy_stats

from surefoot.attacks import objectives
from surefoot.data import load
from surefoot.models import build
from surefoot.models import load as load_model
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.training import loop as loop_module
from surefoot.uncertainty import Ensemble, Selective, scored
from surefoot.uncertainty.scores import SCORES, entropy, member_variance, mutual_information

SMALL = {"name": "mlp", "inputs": 64, "hidden": [16]}


def small(count):
    torch.manual_seed(0)
    return build("ensemble", nets=[SMALL] * count)


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train").first(120)


def test_the_entropy_of_the_outcomes_is_that_of_the_mean():
    """Members say (.9, .1) and (.3, .7): the mean is (.6, .4)."""
    said = [torch.tensor([[0.9], [0.1]]).log(), torch.tensor([[0.3], [0.7]]).log()]
    model = Ensemble([Linear(weight) for weight in said]).eval()
    outcomes = model(torch.ones(1, 1))
    assert torch.allclose(outcomes.exp(), torch.tensor([[0.6, 0.4]]))
    expected = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    assert entropy(outcomes).item() == pytest.approx(expected / math.log(2), abs=1e-6)
    assert objectives.entropy(outcomes).item() == pytest.approx(expected, abs=1e-6)
    variance = 2 * (0.9 - 0.6) ** 2
    assert member_variance(model.members(torch.ones(1, 1))).item() == pytest.approx(variance)


def test_mutual_information_is_total_minus_expected_entropy(generator):
    members = 4 * torch.randn(5, 200, 3, generator=generator)
    p = members.double().softmax(2).numpy()
    expected = scipy_stats.entropy(p.mean(0), axis=1) - scipy_stats.entropy(p, axis=2).mean(0)
    found = mutual_information(members)
    assert torch.allclose(found.double() * math.log(3), torch.from_numpy(expected), atol=1e-5)
    objective = objectives.mutual_information(members.movedim(0, 2))
    assert torch.allclose(found * math.log(3), objective, atol=1e-5)
    assert bool((found >= 0).all())
    assert bool((found <= 1).all())


def test_equal_members_disagree_about_nothing(generator):
    net = build(**SMALL)
    model = Ensemble([net, copy.deepcopy(net)]).eval()
    images = torch.rand(20, 64, generator=generator)
    members = model.members(images)
    assert mutual_information(members).abs().max().item() < 1e-6
    assert member_variance(members).abs().max().item() < 1e-6
    assert torch.allclose(model(images).softmax(1), net(images).softmax(1), atol=1e-6)


def test_members_that_are_certain_of_different_labels_share_all_information():
    members = torch.tensor([[[200.0, 0.0]], [[0.0, 200.0]]], requires_grad=True)
    value = mutual_information(members)
    assert value.item() == pytest.approx(1.0, abs=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), members)
    assert bool(gradient.isfinite().all())


def test_training_side_by_side_is_training_each_alone(digits, tmp_path):
    """Without coupling by perturbations Adam gives each member what it gives it alone."""
    training = Training(epochs=2, batch_size=40, learning_rate=3e-3)
    together, alone = small(3), small(3).nets
    fit(together, digits, make_recipe("standard"), tmp_path / "all", training=training)
    images, _ = digits.batch(slice(None))
    for index, net in enumerate(alone):
        fit(net, digits, make_recipe("standard"), tmp_path / str(index), training=training)
        assert torch.allclose(net(images), together.nets[index](images), atol=2e-3)
    with torch.no_grad():
        spread = together.members(images).std(0)
    assert spread.mean().item() > 0.1


def test_the_criterion_is_the_mean_of_the_members_losses(generator):
    model = small(4).train()
    images, labels = torch.rand(9, 64, generator=generator), torch.arange(9)
    losses = [
        torch.nn.functional.cross_entropy(net(images), labels, reduction="none")
        for net in model.nets
    ]
    found = model.criterion(model(images), labels)
    assert torch.allclose(found, torch.stack(losses).mean(0), atol=1e-5)


class Killed(Exception):
    pass


def test_a_run_that_was_killed_trains_the_same_ensemble(digits, tmp_path, monkeypatch):
    recipe = make_recipe("udp", threat=Threat("linf", 0.2), steps=2, objective="mutual-information")
    training = Training(epochs=3, batch_size=60)

    def run(folder):
        return fit(small(2), digits, recipe, tmp_path / folder, training=training)

    whole, steps, original = run("whole"), 0, loop_module._step

    def dies(*arguments):
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(loop_module, "_step", dies)
    with pytest.raises(Killed):
        run("killed")
    again = run("killed")
    for name in ("model.safetensors", "config.json"):
        assert (whole / name).read_bytes() == (again / name).read_bytes()
    images, _ = digits.batch(slice(0, 10))
    restored = load_model(again)
    assert isinstance(restored, Ensemble)
    assert torch.equal(restored(images), load_model(whole)(images))


def test_an_ensemble_of_made_nets_knows_how_it_was_made():
    nets = [build(**SMALL), build("mlp", inputs=64, hidden=[8, 8])]
    model = Ensemble(nets)
    assert build(**model.config).nets[1][3].weight.shape == (8, 8)
    assert Ensemble([torch.nn.Linear(2, 2)]).config is None


def test_what_is_no_ensemble_raises():
    net = build(**SMALL)
    for nets in ([], [net, net]):
        with pytest.raises(ValueError, match="weights of their own"):
            Ensemble(nets)
    with pytest.raises(ValueError, match="rejects by itself"):
        Ensemble([Selective(net)])
    with pytest.raises(ValueError, match="nets inside"):
        build("ensemble", nets=[SMALL], normalize=((0.5,), (0.2,)))
    with pytest.raises(ValueError, match="does not take"):
        build("ensemble", nets=[{"inputs": 64}])


def test_a_score_of_members_needs_members(generator):
    model = small(2).eval()
    images = torch.rand(5, 64, generator=generator)
    logits, scores = scored(model, images, "mutual-information")
    assert torch.equal(logits, model(images))
    assert torch.equal(scores, mutual_information(model.members(images)))
    assert "entropy" in SCORES
    with pytest.raises(ValueError, match="has none"):
        Selective(model.nets[0], "mutual-information")
    with pytest.raises(ValueError, match="latent_variance"):
        Selective(model, "latent-variance")
