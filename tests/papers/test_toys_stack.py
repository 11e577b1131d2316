"""Nets side by side: each is the net it would be alone, under every recipe."""

import math

import pytest
import torch
from torch import nn

from surefoot import Threat
from surefoot.attacks.perturbation import Perturbation, perturb_images
from surefoot.data.toys import UNIT, two_distance
from surefoot.papers.toys.stack import Stack, fit_together
from surefoot.papers.toys.suite import SUITE, TOYS, Cell, recipe_of, run, train
from surefoot.training import Training, make_recipe
from surefoot.training.losses import Trades

WIDTHS = (2, 16, 16, 2)


def alone(stack, index):
    """Rebuild one net from torch's own layers."""
    layers: list[nn.Module] = []
    for weights, biases in zip(stack.weights, stack.biases, strict=True):
        layer = nn.Linear(*weights.shape[1:])
        layer.weight.data, layer.bias.data = weights[index].T, biases[index, 0]
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    return lambda images: net((images - 0.5) / stack.unit)


def test_each_row_is_answered_by_its_own_net(generator):
    stack = Stack(WIDTHS, (3, 4, 5))
    images = torch.rand(3, 7, 2, generator=generator)
    rows = stack.address(images)
    expected = torch.cat([alone(stack, net)(images[net]) for net in range(3)])
    torch.testing.assert_close(stack(rows), expected)
    torch.testing.assert_close(stack.net(1)(images[1]), expected[7:14])
    some = torch.randperm(21, generator=generator)[:12]
    torch.testing.assert_close(stack(rows[some]), expected[some])
    only = torch.tensor([15, 16])
    torch.testing.assert_close(stack(rows[only]), expected[only])


def test_weights_are_drawn_as_torch_draws_them():
    stack = Stack((50, 200, 2), range(20))
    for weights in (stack.weights[0], stack.biases[0]):
        bound = 1 / math.sqrt(50)
        assert weights.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert weights.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
    same = Stack((50, 200, 2), (7, 7, 8))
    assert torch.equal(same.weights[0][0], same.weights[0][1])
    assert not torch.equal(same.weights[0][0], same.weights[0][2])


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("objective", ["entropy", "cross-entropy"])
@pytest.mark.parametrize("step_rule", ["steepest", "backtracking"])
def test_perturbations_are_those_of_each_net_alone(norm, objective, step_rule, generator):
    stack = Stack(WIDTHS, (0, 1))
    images = 0.3 + 0.4 * torch.rand(2, 20, 2, generator=generator)
    labels = torch.randint(2, (2, 20), generator=generator)
    how = Perturbation(Threat(norm, 0.1), objective, 6, 0.03, step_rule)  # pyright: ignore
    rows = stack.address(images)
    found = perturb_images(stack, rows, labels.flatten(), how)
    assert torch.equal(found[:, -1], rows[:, -1])
    for net in range(2):
        single = perturb_images(alone(stack, net), images[net], labels[net], how)
        torch.testing.assert_close(found.view(2, 20, 3)[net, :, :2], single, atol=1e-5, rtol=0)


def test_rows_that_stop_early_stop_where_their_own_net_says(generator):
    """The batch shrinks net by net; each row must go on with the right weights."""
    stack = Stack(WIDTHS, (0, 1))
    images = 0.3 + 0.4 * torch.rand(2, 30, 2, generator=generator)
    labels = torch.randint(2, (2, 30), generator=generator)
    how = Perturbation(Threat("linf", 0.2), steps=8, step_size=0.03, step_counts="until-boundary")
    found = perturb_images(stack, stack.address(images), labels.flatten(), how)
    stopped = 0
    for net in range(2):
        single = perturb_images(alone(stack, net), images[net], labels[net], how)
        torch.testing.assert_close(found.view(2, 30, 3)[net, :, :2], single, atol=1e-5, rtol=0)
        stopped += int((single == images[net]).all(1).sum())
    assert 0 < stopped < 60


THREAT = Threat("linf", 0.3 * UNIT)
RECIPES = {
    "standard": make_recipe("standard"),
    "pgd": make_recipe("pgd", threat=THREAT, steps=4, start="origin"),
    "udpr": make_recipe("udpr", threat=THREAT, steps=4, step_counts="fixed"),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_nets_train_as_if_alone(recipe):
    data = [two_distance(60, seed=seed) for seed in (0, 1, 2)]
    images = torch.stack([part.images for part in data])
    labels = torch.stack([part.labels for part in data])
    training = Training(batch_size=25, learning_rate=0.01, seed=9)
    how = {"updates": 12, "training": training}
    together = fit_together(Stack(WIDTHS, (0, 1, 2)), images, labels, recipe, **how)
    for net in range(3):
        own = slice(net, net + 1)
        single = fit_together(Stack(WIDTHS, (net,)), images[own], labels[own], recipe, **how)
        for ours, its in zip(together.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(ours[net], its[0], atol=2e-5, rtol=1e-4)


def test_every_cell_of_the_suite_has_a_recipe_that_a_stack_can_use():
    assert {cell.toy for cell in SUITE} <= set(TOYS)
    for cell in SUITE:
        assert getattr(recipe_of(cell).perturbation, "start", "origin") != "uniform"
    trades = recipe_of(Cell("lms-5", "trades", 0.3))
    assert isinstance(trades.loss, Trades)
    assert trades.perturbation.threat == Threat("l2", 0.3 * UNIT)
    assert trades.perturbation.step_size == pytest.approx(0.03 * UNIT)
    with pytest.raises(ValueError, match="no recipe 'mixup'"):
        recipe_of(Cell("lms-5", "mixup"))


def test_uniform_starts_are_refused():
    stack = Stack(WIDTHS, range(5))
    rows = stack.address(torch.full((5, 8, 2), 0.5))
    moved = rows + 0.1 * torch.linspace(-1, 1, 40).unsqueeze(1)
    with pytest.raises(ValueError, match=r"start='origin'"):
        stack(moved)


def test_training_learns_and_watches():
    cell = Cell("two-distance", "udp", 0.2)
    done = train(cell, seeds=(0, 1), updates=60, changes_on=12)
    assert done.changes is not None
    assert done.changes.shape == (2, 144)
    assert done.changes.sum() > 0
    assert done.changes.max() < 60
    for net, data in enumerate(done.data):
        right = done.stack.net(net)(data.images).argmax(1) == data.labels
        assert right.double().mean() > 0.8


def test_the_suite_gives_one_row_a_net():
    cells = (Cell("lms-5", "standard"), Cell("two-distance", "udp-bt", 0.6))
    frame = run(cells, seeds=(0, 1), updates=25)
    assert list(frame["toy"]) == ["lms-5", "lms-5", "two-distance", "two-distance"]
    assert frame["accuracy"].between(0.4, 1).all()
    assert (frame["ratio"] <= 1 + 1e-6).all()
    assert (frame["efficiency"] <= 1 + 1e-6).all()
    again = run(cells[:1], seeds=(0, 1), updates=25)
    assert again.drop(columns="seconds").equals(frame[:2].drop(columns="seconds"))


def test_large_loss_driven_perturbations_ruin_the_narrow_corridor_and_uncertain_ones_do_not():
    """The direction of the paper's claim, at a part of the suite's updates, one seed."""
    found = {
        method: run([Cell("narrow-corridor", method, 0.45)], seeds=(0,), updates=60)
        for method in ("pgd", "udp")
    }
    assert found["udp"]["accuracy"].item() > found["pgd"]["accuracy"].item() + 0.15
