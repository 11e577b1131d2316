"""The loop: it learns, it resumes bit for bit after a kill, it leaves nothing half-written."""

import json

import pytest
import torch

from surefoot.data import load
from surefoot.models import build
from surefoot.models import load as load_model
from surefoot.threat import Threat
from surefoot.training import PGD, UDP, Noise, Standard, Training, accuracy, fit
from surefoot.training import loop as loop_module

THREAT = Threat("l2", 0.5)
RECIPES = [Standard(), PGD(THREAT, steps=2), UDP(THREAT, steps=3), Noise(0.1)]


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train").first(300)


def net(name="mlp", **arguments):
    torch.manual_seed(0)
    return build(name, **({"inputs": 64, "hidden": (16,)} | arguments))


def dropout_net():
    torch.manual_seed(0)
    return build("preactresnet18", planes=1, width=2, dropout=0.3)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
def test_every_recipe_learns_and_leaves_a_loadable_run(recipe, digits, tmp_path):
    training = Training(epochs=12, batch_size=32, learning_rate=5e-3)
    model = net(hidden=(64,))
    folder = fit(model, digits, recipe, tmp_path / "run", training=training, validation=digits)
    names = ["config.json", "log.jsonl", "model.safetensors", "state.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == list(range(1, 13))
    assert log[-1]["loss"] < log[0]["loss"]
    assert accuracy(load_model(folder), digits) == log[-1]["validation_accuracy"] > 0.8
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["name"] == type(recipe).__name__.lower()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("make", [net, dropout_net, lambda: net("lipschitz-mlp")])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(
    make, optimizer, digits, tmp_path, monkeypatch
):
    data, recipe = digits.first(64), UDP(THREAT, steps=2)
    training = Training(epochs=3, batch_size=20, optimizer=optimizer, learning_rate=1e-2)
    whole = fit(make(), data, recipe, tmp_path / "whole", training=training)

    calls, original = 0, loop_module.cross_entropy

    def dies(*arguments):
        nonlocal calls
        calls += 1
        if calls in (2, 7, 14):  # in the first, second and third epoch
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(loop_module, "cross_entropy", dies)
    kills = 0
    while True:
        try:
            folder = fit(make(), data, recipe, tmp_path / "killed", training=training)
            break
        except Killed:
            kills += 1
    assert kills == 3
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    losses = [
        [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (whole, folder)
    ]
    assert losses[0] == losses[1]


def test_a_finished_run_is_not_repeated(digits, tmp_path, monkeypatch):
    training = Training(epochs=1)
    fit(net(), digits, Standard(), tmp_path, training=training)
    monkeypatch.setattr(loop_module, "_epoch", None)
    fit(net(), digits, Standard(), tmp_path, training=training)


def test_training_leaves_the_global_stream_alone(digits, tmp_path):
    model = dropout_net()
    before = torch.get_rng_state()
    fit(model, digits.first(20), Noise(0.1), tmp_path, training=Training(epochs=1))
    assert torch.equal(before, torch.get_rng_state())


def test_attack_steps_inside_training_change_neither_statistics_nor_gradients(digits):
    model = dropout_net().train()
    images, labels = digits.batch(slice(0, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for recipe in RECIPES[1:3]:
        perturbed = recipe.perturb(model, images, labels, torch.Generator().manual_seed(0))
        assert not torch.equal(perturbed, images)
        assert bool(THREAT.inside(perturbed, images).all())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("constant", [1.0, 1.0, 1.0]),
        ("triangular", [0.001, 1.0, 0.001]),
        ("cosine", [1.0, 0.5, 0.0]),
    ],
)
def test_schedules(schedule, values):
    found = [loop_module.rate(schedule, done) for done in (0.0, 0.5, 1.0)]
    assert found == pytest.approx(values, abs=1e-6)


def test_another_run_in_the_folder_is_refused_and_kept(digits, tmp_path):
    fit(net(), digits, Standard(), tmp_path, training=Training(epochs=1))
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="state of another run"):
        fit(net(), digits, Noise(), tmp_path, training=Training(epochs=1))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_damaged_state_is_named(digits, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"damaged.*delete it"):
        fit(net(), digits, Standard(), tmp_path, training=Training(epochs=1))


def test_a_loss_that_explodes_stops_the_run_before_a_model_is_written(digits, tmp_path):
    with pytest.raises(ValueError, match="loss is not finite"):
        fit(
            net(),
            digits,
            Standard(),
            tmp_path,
            training=Training(epochs=3, learning_rate=1e30, optimizer="sgd"),
        )
    assert not (tmp_path / "model.safetensors").exists()


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match="epochs >= 1"):
        Training(epochs=0)
