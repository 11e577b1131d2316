"""Options of the loop, one by one, against their formulas."""

import copy
import math
import warnings

import pytest
import torch
from oracles import Linear
from torch import nn
from torch.nn.functional import cross_entropy, pad

from surefoot.attacks import pgd
from surefoot.data import Data, load
from surefoot.models import PreActResNet18, build
from surefoot.models import load as load_model
from surefoot.threat import Threat
from surefoot.training import (
    PRESETS,
    Augmentation,
    CatastrophicOverfitting,
    Judge,
    Training,
    WeightAttack,
    accuracy,
    attacked_accuracy,
    fit,
    make_recipe,
)
from surefoot.training import judge as judge_module
from surefoot.training import loop as loop_module
from surefoot.training.optimizers import optimizer_of, rate
from surefoot.training.weight_changes import average, copy_of, holding, pushed


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train").first(300)


def net(hidden=(16,)):
    torch.manual_seed(0)
    return build("mlp", inputs=64, hidden=hidden)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("triangular", [0.001, 0.5, 1.0, 0.5, 0.001]),
        ("cosine", [1.0, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5), 0.0]),
        ("multistep", [1.0, 1.0, 0.1, 0.01, 0.01]),
    ],
)
def test_schedules(schedule, values):
    training = Training(schedule=schedule)
    found = [rate(training, done) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx(values, abs=1e-9)


def test_the_rate_reaches_the_optimiser_step_by_step(digits, tmp_path, monkeypatch):
    seen, original = [], loop_module._step

    def watched(run, progress, *rest):
        seen.append(progress.optimizer.param_groups[0]["lr"])
        return original(run, progress, *rest)

    monkeypatch.setattr(loop_module, "_step", watched)
    training = Training(epochs=2, batch_size=10, learning_rate=0.1, schedule="triangular")
    fit(net(), digits.first(20), make_recipe("standard"), tmp_path, training=training)
    assert seen == pytest.approx([0.0001, 0.05, 0.1, 0.05])


def test_sgd_is_nesterov_and_presets_are_the_papers():
    optimizer = optimizer_of(net(), PRESETS["udp-preactresnet18"])
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert PRESETS["udp-lenet"].optimizer == "adam"


# --- weights -------------------------------------------------------------------------------------


def test_pushed_weights_follow_the_formula_and_come_back_bit_for_bit(generator):
    model = net().train()
    images = torch.rand(8, 64, generator=generator)
    labels = torch.arange(8)
    before = copy_of(model)
    slopes = torch.autograd.grad(cross_entropy(model(images), labels), list(model.parameters()))
    base = cross_entropy(model(images), labels).item()
    with pushed(model, lambda: cross_entropy(model(images), labels), 0.1):
        for (name, weight), slope in zip(model.named_parameters(), slopes, strict=True):
            push = 0.1 * before[name].norm() * slope / slope.norm() if weight.ndim > 1 else 0.0
            assert torch.allclose(weight, before[name] + push, atol=1e-6)
        assert cross_entropy(model(images), labels).item() > base
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_pushed_weights_come_back_after_an_error_and_leave_statistics_alone(generator):
    torch.manual_seed(0)
    model = PreActResNet18(planes=1, width=2).train()
    images, labels = torch.rand(4, 1, 8, 8, generator=generator), torch.arange(4)
    before = copy_of(model)

    def fails():
        with pushed(model, lambda: cross_entropy(model(images), labels), 0.05):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_gradient_of_a_step_is_taken_at_the_pushed_weights(digits, tmp_path):
    """One step of SGD by hand (no momentum yet): Nesterov's first step is (1 + 0.9) times lr."""
    model = net(hidden=())
    by_hand = copy.deepcopy(model)
    training = Training(
        epochs=1,
        batch_size=20,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        weight_attack=WeightAttack(0.2),
    )
    data = digits.first(20)
    fit(model, data, make_recipe("standard"), tmp_path, training=training)
    images, labels = data.batch(slice(None))
    start = by_hand[1].weight.detach().clone()
    (slope,) = torch.autograd.grad(cross_entropy(by_hand(images), labels), by_hand[1].weight)
    with torch.no_grad():
        by_hand[1].weight += 0.2 * start.norm() * slope / slope.norm()
    (there,) = torch.autograd.grad(cross_entropy(by_hand(images), labels), by_hand[1].weight)
    assert torch.allclose(model[1].weight, start - 0.19 * there, atol=1e-6)
    assert not torch.allclose(model[1].weight, start - 0.19 * slope, atol=1e-5)


def test_the_average_is_its_formula():
    model = nn.Linear(1, 1, bias=False)
    values = [1.0, 3.0, -2.0, 5.0]
    nn.init.constant_(model.weight, 0.0)
    mean = copy_of(model)
    expected = 0.0
    for count, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        average(mean, model, 0.25, count)
        decay = min(0.25, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * value
        assert mean["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert decay == 0.25  # the last steps are no longer warming up


def test_the_average_covers_statistics_and_copies_counters():
    model = nn.BatchNorm1d(1)
    mean = copy_of(model)
    model.running_mean.fill_(2.0)
    model.num_batches_tracked.fill_(7)
    average(mean, model, 0.5, 100)
    assert mean["running_mean"].item() == 1.0
    assert mean["num_batches_tracked"].item() == 7


def test_the_model_of_a_run_is_the_average(digits, tmp_path):
    """A decay of almost 1 behind the warm-up: compare with an average kept by hand."""
    data, training = digits.first(60), Training(epochs=2, batch_size=20, ema=0.999)
    model = net()
    fit(model, data, make_recipe("standard"), tmp_path / "ema", training=training)
    raw = net()
    mean, count = copy_of(raw), 0
    original = loop_module._step

    def kept(run, progress, *rest):
        nonlocal count
        found = original(run, progress, *rest)
        average(mean, progress.model, 0.999, count)
        count += 1
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "_step", kept)
        plain = Training(epochs=2, batch_size=20)
        fit(raw, data, make_recipe("standard"), tmp_path / "raw", training=plain)
    saved = load_model(tmp_path / "ema").state_dict()
    for name, value in model.state_dict().items():
        assert torch.allclose(value, mean[name], atol=1e-7)
        assert torch.equal(value, saved[name])
    with holding(raw, mean):
        assert all(torch.equal(value, mean[name]) for name, value in raw.state_dict().items())


# --- augmentation --------------------------------------------------------------------------------


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_occurs(generator):
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3) / 10
    images = image.expand(400, 1, 3, 3)
    found = Augmentation(crop=1).apply(images, generator)
    wide = pad(image, (1, 1, 1, 1))[0, 0]
    windows = {
        tuple(wide[row : row + 3, column : column + 3].flatten().tolist())
        for row in range(3)
        for column in range(3)
    }
    assert {tuple(each.flatten().tolist()) for each in found} == windows


def test_flips_mirror_about_half(generator):
    images = torch.rand(400, 3, 4, 4, generator=generator)
    found = Augmentation(flip=True).apply(images, generator)
    same = (found == images).flatten(1).all(1)
    assert torch.equal(found[~same], images.flip(3)[~same])
    assert 150 < int(same.sum()) < 250


def test_nothing_is_drawn_without_augmentation_and_validation_is_never_augmented(
    digits, tmp_path, monkeypatch
):
    seen, original = [], judge_module.accuracy
    monkeypatch.setattr(
        judge_module, "accuracy", lambda model, data: seen.append(data) or original(model, data)
    )
    draw = torch.Generator().manual_seed(1)
    images, _ = digits.batch(slice(0, 5))
    assert Augmentation().apply(images, draw) is images
    assert torch.equal(draw.get_state(), torch.Generator().manual_seed(1).get_state())
    training = Training(epochs=1, augmentation=Augmentation(crop=2, flip=True))
    fit(
        net(),
        digits.first(20),
        make_recipe("standard"),
        tmp_path,
        training=training,
        validation=digits,
    )
    assert seen == [digits]


def test_crops_need_images():
    with pytest.raises(ValueError, match=r"need images \[B, planes, H, W\]"):
        Augmentation(crop=1).apply(torch.rand(2, 5), torch.Generator())


# --- mixed training ------------------------------------------------------------------------------


def test_mixed_training_perturbs_every_second_batch(digits, tmp_path, monkeypatch):
    seen, original = [], loop_module._step
    monkeypatch.setattr(
        loop_module,
        "_step",
        lambda run, progress, recipe, *rest: (
            seen.append(recipe.name) or original(run, progress, recipe, *rest)
        ),
    )
    training = Training(epochs=1, batch_size=10, perturb_every=2)
    fit(
        net(),
        digits.first(40),
        make_recipe("pgd", threat=Threat("l2", 0.1), steps=1),
        tmp_path,
        training=training,
    )
    assert seen == ["pgd", "standard", "pgd", "standard"]


# --- the judge -----------------------------------------------------------------------------------


def test_the_validation_attack_is_made_for_every_image_on_its_own(digits):
    """The same figure image by image, in one batch, and in uneven batches (defect D5)."""
    model = net((32,))
    fit_quickly(model, digits)
    part, threat = digits.first(40), Threat("l2", 0.6)
    alone = []
    for row in range(len(part)):
        image, label = part.batch(slice(row, row + 1))
        moved = pgd(model, image, label, threat=threat, steps=5, step_size=0.3)
        alone.append(bool(model(moved).argmax(1) == label and model(image).argmax(1) == label))
    expected = sum(alone) / len(alone)
    assert 0.1 < expected < 0.9
    for batch_size in (1, 7, 1000):
        assert attacked_accuracy(model, part, threat, 5, batch_size) == expected


def fit_quickly(model, data):
    images, labels = data.batch(slice(None))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()


def test_attacked_accuracy_of_a_linear_model_is_the_share_of_margins_above_eps():
    model = Linear(torch.tensor([[-1.0], [1.0]]))
    images = torch.tensor([[0.02], [0.1], [0.4], [0.3], [0.0]])
    data = Data(images, torch.tensor([1, 1, 1, 0, 1]), classes=("0", "1"), name="line")
    assert attacked_accuracy(model, data, Threat("linf", 0.05), 1) == 2 / 5
    assert attacked_accuracy(model, data, Threat("linf", 0.05), 8) == 2 / 5
    assert attacked_accuracy(model, data, Threat("linf", 0.2), 8) == 1 / 5


def scripted(monkeypatch, figures):
    """A judge that gives these (clean, one-step, attacked) accuracies, epoch by epoch."""
    queue = iter(figures)

    def judged(self, model, data):
        names = (judge_module.CLEAN, judge_module.ONE_STEP, judge_module.ATTACKED)
        return dict(zip(names, next(queue), strict=True))

    monkeypatch.setattr(Judge, "figures", judged)


def test_best_and_last_weights_are_kept(digits, tmp_path, monkeypatch):
    scripted(monkeypatch, [(0.5, 0.4, 0.3), (0.6, 0.5, 0.4), (0.9, 0.5, 0.4), (0.9, 0.4, 0.35)])
    data = digits.first(40)
    seen, original = [], loop_module._epoch

    def watched(run, progress, validation, epoch):
        original(run, progress, validation, epoch)
        seen.append(copy_of(progress.model))

    monkeypatch.setattr(loop_module, "_epoch", watched)
    training = Training(epochs=4, batch_size=20, judge=Judge("l2", 0.1))
    folder = fit(net(), data, make_recipe("standard"), tmp_path, training=training, validation=data)
    for weights, run in ((seen[1], folder / "best"), (seen[3], folder)):
        found = load_model(run).state_dict()
        assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_patience_ends_a_run_for_good(digits, tmp_path, monkeypatch):
    worth = [0.3, 0.5, 0.5, 0.4, 0.9]
    scripted(monkeypatch, [(0.9, 0.9, value) for value in worth])
    data = digits.first(20)
    training = Training(epochs=5, judge=Judge("l2", 0.1, patience=2))

    def run():
        fit(net(), data, make_recipe("standard"), tmp_path, training=training, validation=data)
        return len((tmp_path / "log.jsonl").read_text().splitlines())

    assert run() == 4
    assert run() == 4  # a second call does not go on


COLLAPSE = [(0.9, 0.6, 0.5), (0.9, 0.7, 0.6), (0.9, 0.95, 0.1), (0.9, 0.95, 0.05)]


@pytest.mark.parametrize(("stop", "epochs"), [(False, 4), (True, 3)])
def test_catastrophic_overfitting_is_logged_warned_of_once_and_may_stop(
    stop, epochs, digits, tmp_path, monkeypatch
):
    scripted(monkeypatch, COLLAPSE)
    data = digits.first(20)
    training = Training(epochs=4, judge=Judge("l2", 0.1, stop_on_collapse=stop))
    with pytest.warns(CatastrophicOverfitting, match=r"epoch 3.*95.0%.*10.0%") as caught:
        fit(net(), data, make_recipe("standard"), tmp_path, training=training, validation=data)
    assert len(caught) == 1
    log = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(log) == epochs
    assert ["collapsed" in line for line in log] == [False, False, True, True][:epochs]


@pytest.mark.parametrize(
    "last",
    [
        (0.9, 0.5, 0.4),  # a little worse
        (0.1, 0.1, 0.1),  # all fails together
        (0.9, 0.4, 0.28),  # low, but the two go together
    ],
)
def test_no_false_warning(last):
    names = (judge_module.CLEAN, judge_module.ONE_STEP, judge_module.ATTACKED)
    log = [dict(zip(names, figures, strict=True)) for figures in (*COLLAPSE[:2], last)]
    assert not judge_module.collapsed(log)


def test_what_was_never_robust_cannot_collapse():
    names = (judge_module.CLEAN, judge_module.ONE_STEP, judge_module.ATTACKED)
    log = [dict(zip(names, figures, strict=True)) for figures in [(0.9, 0.5, 0.04), (0.9, 0.5, 0)]]
    assert not judge_module.collapsed(log)


def test_a_gentle_run_is_judged_without_a_warning(digits, tmp_path):
    training = Training(epochs=5, batch_size=25, learning_rate=1e-2, judge=Judge("l2", 0.2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = make_recipe("fgsm", threat=Threat("l2", 0.2))
        fit(net(), digits, recipe, tmp_path, training=training, validation=digits)
    assert accuracy(load_model(tmp_path / "best"), digits) > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(ema=1.0), "ema < 1"),
        (lambda: Training(perturb_every=0), "perturb_every >= 1"),
        (lambda: Training(label_smoothing=-0.1), "label_smoothing"),
        (lambda: WeightAttack(-1.0), "weight_radius"),
        (lambda: Augmentation(crop=-1), "crop"),
        (lambda: Judge(judge_steps=0), "judge_steps >= 1"),
        (lambda: Judge(stop_on_collapse=True), "judge_eps"),
        (lambda: Judge(judge_eps=-1.0), "eps"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_judge_without_images_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="need validation images"):
        fit(
            net(),
            digits,
            make_recipe("standard"),
            tmp_path,
            training=Training(judge=Judge(patience=1)),
        )
