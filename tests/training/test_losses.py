"""Losses on cases computed by hand: two or three classes with probabilities one can write down."""

import math

import pytest
import torch

from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Outputs, losses, make_recipe
from surefoot.training.outputs import criterion_of

CLEAN = torch.tensor([[0.5, 0.25, 0.25]]).log()
PERTURBED = torch.tensor([[0.25, 0.25, 0.5]]).log() + 3.0  # logits are free up to a constant
LABELS = torch.tensor([0])


def answers(clean=CLEAN, perturbed=PERTURBED, labels=LABELS, smoothing=0.0):
    """A model that answers a fixed thing at the image and another at the point."""
    images, point = torch.zeros(len(clean), 1), torch.ones(len(clean), 1)
    given = {id(images): clean, id(point): perturbed}
    criterion = criterion_of(lambda at: at, smoothing)
    return Outputs(lambda at: given[id(at)], images, point, labels, criterion)


KL = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5)  # of the clean from the perturbed
SOFT = -(0.5 * math.log(0.25) + 0.25 * math.log(0.25) + 0.25 * math.log(0.5))
ENTROPY = 0.5 * math.log(2) + 0.5 * math.log(4)
CASES = [
    (make_recipe("standard"), math.log(4)),
    (make_recipe("maxe", weight=0.5), math.log(2) - 0.5 * ENTROPY),
    (make_recipe("udpr", weight=2.0), math.log(2) + 2 * math.log(4)),
    (make_recipe("trades", weight=6.0), math.log(2) + 6 * KL),
    (make_recipe("trades", weight=1.0, form="soft-cross-entropy"), math.log(2) + SOFT),
    (make_recipe("udp-trades", weight=3.0), math.log(2) + 3 * KL),
    # the strongest wrong class of the perturbed answer has one half
    (make_recipe("mart", weight=5.0), math.log(4) + math.log(2) + 5 * 0.5 * KL),
    (make_recipe("mma", clean_weight=0.25), 0.25 * math.log(2) + 0.75 * math.log(4)),
]


@pytest.mark.parametrize(("recipe", "value"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_losses_by_hand(recipe, value):
    assert recipe.loss(answers()).item() == pytest.approx(value, rel=1e-5)


def test_mma_counts_wrong_images_and_found_boundaries_alone():
    """Right and moved: both; right and not moved: the clean part; wrong: both, at the image."""
    clean = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    near = torch.tensor([[-0.1, 0.0], [2.0, 0.0], [0.0, 2.0]])
    images, point = torch.zeros(3, 1), torch.tensor([[1.0], [0.0], [0.0]])
    given = {id(images): clean, id(point): near}
    labels = torch.zeros(3, dtype=torch.long)
    found = make_recipe("mma", clean_weight=1 / 3).loss(
        Outputs(lambda at: given[id(at)], images, point, labels, criterion_of(lambda at: at, 0.0))
    )
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    near_loss = math.log1p(math.exp(0.1))
    expected = [right / 3 + 2 / 3 * near_loss, right / 3, wrong]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_boosted_loss_is_finite_for_a_gap_of_ten_thousand():
    outcomes = torch.tensor([[-1e4, 1e4], [1e4, -1e4]], requires_grad=True)
    value = losses.boosted(outcomes, torch.tensor([0, 0]))
    assert value.tolist() == pytest.approx([2e4, 0.0])
    (gradient,) = torch.autograd.grad(value.sum(), outcomes)
    assert bool(gradient.isfinite().all())


def test_trades_pulls_at_both_answers():
    clean, perturbed = CLEAN.clone().requires_grad_(), PERTURBED.clone().requires_grad_()
    far = losses.closeness(perturbed, clean, "kl").sum()
    slopes = torch.autograd.grad(far, [clean, perturbed])
    assert all(bool((slope != 0).any()) for slope in slopes)
    # d KL / d logits of p is p - q
    assert torch.allclose(slopes[1], torch.tensor([[-0.25, 0.0, 0.25]]), atol=1e-6)


def test_label_smoothing_spreads_the_label():
    found = make_recipe("standard").loss(answers(smoothing=0.3)).item()
    spread = (math.log(4) + math.log(4) + math.log(2)) / 3
    assert found == pytest.approx(0.7 * math.log(4) + 0.3 * spread, rel=1e-5)


def test_a_model_with_its_own_criterion_is_trained_by_it():
    class Odd(torch.nn.Module):
        def criterion(self, outcomes, labels):
            return outcomes[:, 0] + labels

    assert criterion_of(Odd(), 0.1)(CLEAN, LABELS).item() == pytest.approx(math.log(0.5))


def test_mma_moves_to_the_boundary_and_leaves_the_rest():
    """One pixel, boundary at 0.4; the second image is too far off, the third is wrong already."""
    model = build("mlp", inputs=1, hidden=(), classes=2)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model[1].bias.copy_(torch.tensor([0.4, -0.4]))
    images = torch.tensor([[0.3], [0.1], [0.5]])
    recipe = make_recipe("mma", threat=Threat("linf", 0.2), steps=5, bisection_steps=16)
    point = recipe.perturb(
        model, images, torch.zeros(3, dtype=torch.long), torch.Generator().manual_seed(0)
    )
    assert point.flatten().tolist() == pytest.approx([0.4, 0.1, 0.5], abs=1e-5)
    assert model(point[:1]).argmax(1).item() == 1  # on the wrong side, if barely
