"""Recipes of noise samples: special cases, losses by hand, and what is left alone."""

import math

import numpy as np
import pytest
import torch

from surefoot.attacks.latent import Space
from surefoot.attacks.perturbation import Perturbation, perturb_noisy
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Outputs, make_recipe
from surefoot.training.outputs import criterion_of

CRITERION = criterion_of(torch.nn.Identity(), 0.0)
STILL, NEAR = Threat("l2", 0.0), Threat("l2", 0.5)
UNSURE = {"threat": NEAR, "steps": 3, "step_counts": "fixed"}
SEVERAL = [
    make_recipe("consistency", sigma=0.2, samples=3),
    make_recipe("smooth-adv", threat=NEAR, sigma=0.2, samples=3),
    make_recipe("cat-rs", threat=NEAR, sigma=0.2, samples=3),
    make_recipe("noisy-udp", **UNSURE, sigma=0.2, samples=3),
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("mlp", inputs=8, hidden=(16,), classes=4)


@pytest.fixture
def images(generator):
    return torch.rand(12, 8, generator=generator)


@pytest.fixture
def labels(generator):
    return torch.randint(0, 4, (12,), generator=generator)


def point_of(recipe, model, images, labels):
    return recipe.perturb(model, images, labels, torch.Generator().manual_seed(5))


def outputs_of(model, images, point, labels):
    return Outputs(model, images, point, labels, CRITERION, model)


def losses_of(recipe, model, images, labels):
    point = point_of(recipe, model, images, labels)
    return recipe.loss(outputs_of(model, images, point, labels))


@pytest.mark.parametrize(
    "recipe",
    [
        make_recipe("consistency", sigma=0.2, samples=1, entropy_weight=0.0),
        make_recipe("smooth-adv", threat=STILL, sigma=0.2, samples=1),
        make_recipe("cat-rs", threat=STILL, sigma=0.2, samples=1, weight=0.0),
        make_recipe("noisy-udp", threat=STILL, sigma=0.2, samples=1),
    ],
)
def test_one_copy_without_search_is_gaussian_noise(recipe, model, images, labels):
    expected = losses_of(make_recipe("noise", sigma=0.2), model, images, labels)
    assert torch.allclose(losses_of(recipe, model, images, labels), expected, atol=1e-6)


@pytest.mark.parametrize(
    "recipe",
    [
        make_recipe("consistency", sigma=0.2, samples=3, weight=0.0, entropy_weight=0.0),
        make_recipe("smooth-adv", threat=STILL, sigma=0.2, samples=3),
        make_recipe("noisy-udp", threat=STILL, sigma=0.2, samples=3),
    ],
)
def test_without_weight_or_radius_the_loss_is_the_mean_over_noise(recipe, model, images, labels):
    noise = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(5))
    each = [
        torch.nn.functional.cross_entropy(model(images + 0.2 * one), labels, reduction="none")
        for one in noise
    ]
    found = losses_of(recipe, model, images, labels)
    assert torch.allclose(found, torch.stack(each).mean(0), atol=1e-6)


def test_consistency_by_hand():
    """Two samples with p = (.9, .1) and (.6, .4), label 0: mean (.75, .25)."""
    samples = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log()
    answers = Outputs(lambda point: point, torch.zeros(1, 2), samples, torch.tensor([0]), CRITERION)
    mean = np.array([0.75, 0.25])
    apart = [(mean * np.log(mean / np.array(p))).sum() for p in ([0.9, 0.1], [0.6, 0.4])]
    expected = -(math.log(0.9) + math.log(0.6)) / 2
    expected += 3.0 * np.mean(apart) + 0.7 * -(mean * np.log(mean)).sum()
    found = make_recipe("consistency", samples=2, weight=3.0, entropy_weight=0.7).loss(answers)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ((0.9, 0.8, 0.6), -math.log(0.9 * 0.8 * 0.6) / 3 - 2.0 * math.log(0.3)),
        ((0.9, 0.2, 0.6), -math.log(0.9 * 0.6) / 3),
        ((0.1, 0.2, 0.3), -math.log(0.3) / 3),
    ],
    ids=["all right: and the worst", "two right: their two", "none right: the easiest"],
)
def test_confidence_chooses_the_noise_by_hand(right, expected):
    probabilities = torch.tensor([[p, 1 - p] for p in (*right, 0.3)])  # the last one: the worst
    answers = Outputs(
        lambda point: point,
        torch.zeros(1, 2),
        probabilities.log(),
        torch.tensor([0]),
        CRITERION,
    )
    found = make_recipe("cat-rs", samples=3, weight=2.0).loss(answers)
    assert found.item() == pytest.approx(expected, rel=1e-5)


class Line(torch.nn.Module):
    """Two classes, logits (w x, -w x): the loss of class 0 falls with w x, whatever the noise."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, images):
        score = images @ self.weight
        return torch.stack([score, -score], 1)


def test_smooth_adv_on_a_line_goes_straight_against_the_weights():
    net, images, labels = Line(), torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.long)
    recipe = make_recipe("smooth-adv", threat=Threat("l2", 0.3), sigma=0.25, samples=3)
    noise = 0.25 * torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(5))
    moved = torch.tensor([0.5 - 0.3 * 0.6, 0.5 - 0.3 * 0.8])
    point = point_of(recipe, net, images, labels)
    assert torch.allclose(point, (moved + noise).flatten(0, 1), atol=1e-5)
    lead = 2 * (moved + noise) @ torch.tensor([3.0, 4.0])
    expected = torch.log1p(torch.exp(-lead)).mean(0)
    found = recipe.loss(outputs_of(net, images, point, labels))
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_worst_copy_on_a_line_is_the_one_whose_noise_points_the_wrong_way():
    net, images, labels = Line(), torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.long)
    point = point_of(
        make_recipe("cat-rs", threat=Threat("l2", 0.3), sigma=0.25, samples=3), net, images, labels
    )
    noise = 0.25 * torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(point[:12], (images + noise).flatten(0, 1), atol=1e-6)
    worst = (noise @ torch.tensor([3.0, 4.0])).argmin(0)
    expected = noise[worst, torch.arange(4)] + torch.tensor([0.32, 0.26])
    assert torch.allclose(point[12:], expected, atol=1e-5)


def test_noisy_udp_raises_the_entropy_of_the_mean_answer(model, images, labels):
    noise = 0.2 * torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(5))

    def unsure(points):
        mean = torch.stack([model(points + one).softmax(1) for one in noise]).mean(0)
        return -(mean * mean.log()).sum(1)

    found = point_of(
        make_recipe("noisy-udp", **UNSURE, sigma=0.2, samples=3), model, images, labels
    )
    moved = found.view(3, 12, 8) - noise
    assert torch.allclose(moved, moved[:1].expand_as(moved), atol=1e-6)
    assert bool(NEAR.inside(moved[0].clamp(0, 1), images).all())
    assert bool((unsure(moved[0]) > unsure(images) + 1e-3).all())


def test_step_counts_drawn_for_each_image_keep_its_own_noise(model, images, labels):
    """An image that is alone in its batch is moved by the same noise as beside finished ones."""
    recipe = make_recipe("noisy-udp", threat=NEAR, steps=6, sigma=0.2, samples=2)
    found = point_of(recipe, model, images, labels)
    counts = torch.Generator().manual_seed(5)
    noise = 0.2 * torch.randn(2, 12, 8, generator=counts)
    steps = torch.randint(1, 7, (12,), generator=counts)
    row = int(steps.argmax())
    alone = images[row : row + 1].clone()
    for _ in range(int(steps[row])):
        here = alone.clone().requires_grad_()
        mean = torch.stack([model(here + one[row]).softmax(1) for one in noise]).mean(0)
        (slope,) = torch.autograd.grad(-(mean * mean.log()).sum(), here)
        alone = NEAR.project(alone + 0.5 / 6 * NEAR.steepest(slope), images[row : row + 1])
    assert torch.allclose(found.view(2, 12, 8)[:, row] - noise[:, row], alone, atol=1e-5)


@pytest.mark.parametrize("recipe", SEVERAL, ids=lambda recipe: recipe.name)
def test_gradients_flow_to_the_weights_alone(recipe, model, images, labels):
    model.train()
    point = point_of(recipe, model, images, labels)
    assert model.training
    assert not point.requires_grad
    assert all(w.grad is None and w.requires_grad for w in model.parameters())
    recipe.loss(outputs_of(model, images, point, labels)).mean().backward()
    assert all(bool((w.grad != 0).any()) for w in model.parameters())
    assert images.grad is None
    assert not images.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_recipe("consistency", sigma=0.0),
        lambda: make_recipe("consistency", samples=0),
        lambda: make_recipe("consistency", weight=-1.0),
        lambda: make_recipe("consistency", entropy_weight=math.nan),
        lambda: make_recipe("smooth-adv", sigma=math.inf),
        lambda: make_recipe("smooth-adv", steps=0),
        lambda: make_recipe("smooth-adv", step_size=0.0),
        lambda: make_recipe("cat-rs", samples=0),
        lambda: make_recipe("cat-rs", weight=-1.0),
        lambda: make_recipe("noisy-udp", sigma=-1.0),
        lambda: make_recipe("noisy-udp", objective="mutual-information"),
    ],
)
def test_impossible_options_are_refused(make):
    with pytest.raises(ValueError, match="found"):
        make()


@pytest.mark.parametrize(
    "how",
    [
        Perturbation(NEAR, "mutual-information"),
        Perturbation(NEAR, "kl", start="normal"),
        Perturbation(NEAR, "entropy", space=Space("1")),
        Perturbation(NEAR, "entropy", spread=1.0),
        Perturbation(NEAR, "entropy", bisection_steps=3),
    ],
)
def test_under_noise_only_images_and_the_mean_outcomes_count(how, model, images):
    with pytest.raises(ValueError, match="only images are moved"):
        perturb_noisy(model, images, None, how, torch.zeros(12, 2, 8))
