"""The loop: it learns, it resumes bit for bit after a kill, it leaves nothing half-written."""

import json
from dataclasses import replace

import pytest
import torch

from surefoot.attacks.latent import Space
from surefoot.data import load
from surefoot.models import build
from surefoot.models import load as load_model
from surefoot.threat import Threat
from surefoot.training import (
    RECIPES,
    Augmentation,
    Judge,
    Training,
    WeightAttack,
    accuracy,
    fit,
    make_recipe,
)
from surefoot.training import loop as loop_module

THREAT = Threat("l2", 0.5)
SPACE = Space("2", "absolute")
LEARNERS = [
    make_recipe("standard"),
    make_recipe("noise", sigma=0.1),
    make_recipe("maxe", weight=0.1),
    make_recipe("fgsm", threat=Threat("linf", 0.05)),
    make_recipe("r-fgsm", threat=Threat("linf", 0.05)),
    make_recipe("n-fgsm", threat=Threat("linf", 0.05)),
    make_recipe("pgd", threat=THREAT, steps=2),
    make_recipe("pgd", threat=THREAT, steps=2, space=SPACE),
    make_recipe("fat", threat=THREAT, steps=3),
    make_recipe("trades", threat=THREAT, steps=2, weight=1.0),
    make_recipe("trades", threat=THREAT, steps=2, weight=1.0, form="soft-cross-entropy"),
    make_recipe("trades", threat=THREAT, steps=2, weight=1.0, space=SPACE),
    make_recipe("mart", threat=THREAT, steps=2, weight=1.0),
    make_recipe("mma", threat=THREAT, steps=3),
    make_recipe("udp", threat=THREAT, steps=3),
    make_recipe("udp", threat=THREAT, steps=3, step_rule="backtracking"),
    make_recipe("udp", threat=THREAT, steps=3, space=SPACE),
    make_recipe("udpr", threat=THREAT, steps=3),
    make_recipe("udpr", threat=THREAT, steps=3, space=SPACE),
    make_recipe("udp-trades", threat=THREAT, steps=3, weight=1.0),
    make_recipe("consistency", sigma=0.1, weight=1.0),
    make_recipe("smooth-adv", threat=Threat("l2", 0.25), sigma=0.1),
    make_recipe("cat-rs", threat=Threat("l2", 0.25), sigma=0.1, samples=2),
    make_recipe("noisy-udp", threat=Threat("l2", 0.25), steps=3, sigma=0.1),
]


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train").first(300)


def net(name="mlp", **arguments):
    torch.manual_seed(0)
    return build(name, **({"inputs": 64, "hidden": (16,)} | arguments))


def dropout_net():
    torch.manual_seed(0)
    return build("preactresnet18", planes=1, width=2, dropout=0.3)


@pytest.mark.parametrize("recipe", LEARNERS, ids=lambda recipe: recipe.name)
def test_every_recipe_learns_and_leaves_a_loadable_run(recipe, digits, tmp_path):
    training = Training(epochs=12, batch_size=32, learning_rate=5e-3)
    model = net(hidden=(64,))
    folder = fit(model, digits, recipe, tmp_path / "run", training=training, validation=digits)
    names = ["best", "config.json", "log.jsonl", "model.safetensors", "state.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == list(range(1, 13))
    assert log[-1]["loss"] < log[0]["loss"]
    assert accuracy(load_model(folder), digits) == log[-1]["validation_accuracy"] > 0.8
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["name"] == recipe.name


def test_every_recipe_knows_its_name():
    for name, recipe in RECIPES.items():
        assert recipe.name == make_recipe(name).name == name


def test_an_unknown_recipe_or_option_is_named():
    with pytest.raises(ValueError, match="no recipe 'pdg'; there are standard, maxe"):
        make_recipe("pdg")
    with pytest.raises(ValueError, match=r"udpr has .*weight.*; found wait"):
        make_recipe("udpr", steps=3, wait=2)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("make", [net, dropout_net, lambda: net("lipschitz-mlp")])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(
    make, optimizer, digits, tmp_path, monkeypatch
):
    data, recipe = digits.first(64), make_recipe("udp", threat=THREAT, steps=2)
    training = Training(epochs=3, batch_size=20, optimizer=optimizer, learning_rate=1e-2)
    whole = fit(make(), data, recipe, tmp_path / "whole", training=training)

    folder = killed_thrice(
        monkeypatch, lambda: fit(make(), data, recipe, tmp_path / "killed", training=training)
    )
    assert_same_runs(whole, folder)


def killed_thrice(monkeypatch, run):
    """Kill in the first, second and third epoch (of four steps), and continue."""
    calls, original = 0, loop_module._step

    def dies(*arguments):
        nonlocal calls
        calls += 1
        found = original(*arguments)
        if calls in (2, 7, 14):
            raise Killed
        return found

    monkeypatch.setattr(loop_module, "_step", dies)
    for _ in range(3):
        with pytest.raises(Killed):
            run()
    return run()


def lines_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_same_runs(one, two):
    assert lines_of(one) == lines_of(two)
    for path in one.rglob("model.safetensors"):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


EVERYTHING = Training(
    epochs=3,
    batch_size=20,
    optimizer="sgd",
    learning_rate=5e-2,
    schedule="multistep",
    milestones=(0.4, 0.8),
    label_smoothing=0.1,
    perturb_every=2,
    ema=0.9,
    augmentation=Augmentation(crop=1, flip=True),
    weight_attack=WeightAttack(0.01, 1),
    judge=Judge("l2", 0.3, judge_steps=2),
)


def test_a_killed_run_with_every_option_ends_with_the_same_bits(digits, tmp_path, monkeypatch):
    def run(folder):
        recipe = make_recipe("udp-trades", threat=THREAT, steps=2)
        data, validation = digits.first(64), digits.first(40)
        return fit(dropout_net(), data, recipe, folder, training=EVERYTHING, validation=validation)

    whole = run(tmp_path / "whole")
    folder = killed_thrice(monkeypatch, lambda: run(tmp_path / "killed"))
    assert_same_runs(whole, folder)
    assert len(list(whole.rglob("model.safetensors"))) == 2
    plain = replace(EVERYTHING, judge=Judge())
    other = fit(
        dropout_net(), digits.first(64), make_recipe("standard"), tmp_path / "other", training=plain
    )  # the options do something
    files = [path / "model.safetensors" for path in (whole, other)]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_a_finished_run_is_not_repeated(digits, tmp_path, monkeypatch):
    training = Training(epochs=1)
    fit(net(), digits, make_recipe("standard"), tmp_path, training=training)
    monkeypatch.setattr(loop_module, "_step", None)
    fit(net(), digits, make_recipe("standard"), tmp_path, training=training)


def test_training_leaves_the_global_stream_alone(digits, tmp_path):
    model = dropout_net()
    before = torch.get_rng_state()
    fit(
        model,
        digits.first(20),
        make_recipe("noise", sigma=0.1),
        tmp_path,
        training=Training(epochs=1),
    )
    assert torch.equal(before, torch.get_rng_state())


def test_attack_steps_inside_training_change_neither_statistics_nor_gradients(digits):
    model = dropout_net().train()
    images, labels = digits.batch(slice(0, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for recipe in LEARNERS:
        point = recipe.perturb(model, images, labels, torch.Generator().manual_seed(0))
        if recipe.name in ("pgd", "fat", "trades", "udp", "udpr") and isinstance(
            point, torch.Tensor
        ):
            assert not torch.equal(point, images)
            assert bool(THREAT.inside(point, images).all())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_another_run_in_the_folder_is_refused_and_kept(digits, tmp_path):
    fit(net(), digits, make_recipe("standard"), tmp_path, training=Training(epochs=1))
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="state of another run"):
        fit(net(), digits, make_recipe("noise"), tmp_path, training=Training(epochs=1))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_damaged_state_is_named(digits, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"damaged.*delete it"):
        fit(net(), digits, make_recipe("standard"), tmp_path, training=Training(epochs=1))


def test_a_loss_that_explodes_stops_the_run_before_a_model_is_written(digits, tmp_path):
    with pytest.raises(ValueError, match="loss is not finite"):
        fit(
            net(),
            digits,
            make_recipe("standard"),
            tmp_path,
            training=Training(epochs=3, learning_rate=1e30, optimizer="sgd"),
        )
    assert not (tmp_path / "model.safetensors").exists()


def test_two_passes_of_one_batch_leave_the_statistics_of_both(digits, tmp_path):
    """TRADES asks for the clean and the perturbed answers in one step, in train mode."""
    model = dropout_net()
    fit(
        model,
        digits.first(20),
        make_recipe("trades", threat=THREAT, steps=1),
        tmp_path,
        training=Training(epochs=1),
    )
    counts = [value for name, value in model.state_dict().items() if "num_batches" in name]
    assert counts
    assert all(value.item() == 2 for value in counts)


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match="epochs >= 1"):
        Training(epochs=0)


class Batched(torch.nn.Sequential):
    """A small net with batch normalisation, saved by name alone."""

    def __init__(self):
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(64, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Linear(8, 10),
        )


@pytest.mark.parametrize("count", [33, 65, 97])
def test_a_last_batch_of_one_does_not_stop_batch_normalisation(count, tmp_path):
    data = load("digits", "train").first(count)
    training = Training(epochs=1, batch_size=32)
    folder = fit(Batched(), data, make_recipe("standard"), tmp_path / "run", training=training)
    assert (folder / "model.safetensors").exists()


def test_a_last_batch_of_one_stays_a_step_without_batch_normalisation(digits):
    order = torch.arange(33)
    assert [len(b) for b in loop_module._batches(net(), order, 32, 1)] == [32, 1]
    assert [len(b) for b in loop_module._batches(Batched(), order, 32, 1)] == [33]
    assert [len(b) for b in loop_module._batches(Batched(), torch.arange(67), 32, 2)] == [32, 35]
    assert [len(b) for b in loop_module._batches(Batched(), order[:1], 32, 1)] == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_before_a_folder_is_made(value, digits, tmp_path):
    model = net()
    model[1].weight.data[0, 0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite \(1.weight; 1 in all\)"):
        fit(model, digits, make_recipe("standard"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_ends_in_weights_that_are_not_finite_is_an_error(digits, tmp_path):
    training = Training(epochs=1, batch_size=300, learning_rate=1e38, optimizer="sgd")
    model = net()
    for weight in model.parameters():
        weight.register_hook(lambda gradient: gradient * 1e30)
    with pytest.raises(ValueError, match="epoch 1 ended with weights that are NaN or infinite"):
        fit(model, digits, make_recipe("standard"), tmp_path / "run", training=training)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_an_infinite_learning_rate_is_no_setting():
    with pytest.raises(ValueError, match="finite learning_rate"):
        Training(learning_rate=float("inf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: {"logits": logits}, r"return self.net\(images\)\['logits'\]"),
        (lambda logits: logits[:, :5], "10 classes, the model 5 outcomes"),
    ],
)
def test_a_model_that_cannot_be_trained_is_named_before_a_folder_is_made(
    change, message, digits, tmp_path
):
    model = net()
    model.register_forward_hook(lambda module, inputs, logits: change(logits))
    with pytest.raises(ValueError, match=message):
        fit(model, digits, make_recipe("standard"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
