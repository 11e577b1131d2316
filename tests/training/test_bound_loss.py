"""Certified training by bounds: each loss on a case whose answer is known."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from surefoot.certify.relaxation import certify
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import MinMax
from surefoot.threat import Threat
from surefoot.training import Recipe, make_recipe
from surefoot.training.bound_loss import BoundLoss
from surefoot.training.outputs import Outputs, criterion_of
from surefoot.training.regions import Ball, Ramp, Region

EPS = 0.1
NOW = Ramp(0.0, 0.0)
"""The final eps from the first step on."""


@pytest.fixture
def images(generator):
    return torch.rand(6, 1, 4, 4, generator=generator)


@pytest.fixture
def labels(generator):
    return torch.randint(0, 3, (6,), generator=generator)


def net_of(*layers, seed=0):
    torch.manual_seed(seed)
    made = [layer() for layer in layers]
    return nn.Sequential(*made)


LINEAR = (nn.Flatten, partial(nn.Linear, 16, 3))
RELU_NET = (
    partial(nn.Conv2d, 1, 4, 3, 2, 1),
    nn.ReLU,
    nn.Flatten,
    partial(nn.Linear, 16, 8),
    nn.ReLU,
    partial(nn.Linear, 8, 3),
)
NORMALISED = (
    partial(nn.Conv2d, 1, 4, 3, 2, 1, bias=False),
    partial(nn.BatchNorm2d, 4),
    nn.ReLU,
    nn.AvgPool2d,
    nn.Flatten,
    partial(nn.Linear, 4, 3),
)
NORMALISED = (*NORMALISED[:3], partial(nn.AvgPool2d, 2), *NORMALISED[4:])
MIXED = (
    partial(nn.Conv2d, 1, 4, 3, 1, 1),
    MinMax,
    partial(nn.MaxPool2d, 2),
    nn.Flatten,
    partial(nn.Dropout, 0.5),
    partial(nn.Linear, 16, 8),
    nn.Sigmoid,
    partial(nn.Linear, 8, 8),
    nn.GELU,
    partial(nn.Linear, 8, 3),
)
NETS = {"linear": LINEAR, "relu": RELU_NET, "batch norm": NORMALISED, "mixed": MIXED}


def loss_of(recipe, net, images, labels, done=1.0):
    """Return the loss of each example as the loop takes it."""
    net.train()
    found = recipe.perturb(net, images, labels, torch.Generator().manual_seed(1), done)
    region = found if isinstance(found, Region) else None
    point = found.point if region is not None else found
    outputs = Outputs(
        net, images, point, labels, criterion_of(net, 0.0), net, done=done, region=region
    )
    return recipe.loss(outputs)


def recipe_of(name, norm="linf", eps=EPS, **options):
    return make_recipe(name, threat=Threat(norm, eps), ramp=NOW, regularisation=0.0, **options)


def corners(image, eps, low=0.0, high=1.0):
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=image.numel()))).view(-1, *image.shape)
    return (image + eps * signs).clamp(low, high)


@pytest.mark.parametrize("name", ["ibp", "crown-ibp"])
def test_on_a_linear_net_the_loss_is_the_exact_worst_case(name, images, labels):
    net = net_of(*LINEAR)
    options = {"lines": 1.0} if name == "crown-ibp" else {}
    found = loss_of(recipe_of(name, **options), net, images, labels)
    for image, label, loss in zip(images, labels, found, strict=True):
        with torch.no_grad():  # a margin is linear: each is least at a corner of its own
            logits = net(corners(image, EPS))
            worst = (logits - logits[:, label : label + 1]).amax(0)
        expected = cross_entropy(worst.unsqueeze(0), label.view(1))
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ibp", "crown-ibp"])
def test_on_a_linear_net_the_loss_at_l2_is_the_exact_worst_case(name, images, labels):
    net = net_of(*LINEAR)
    options = {"lines": 1.0} if name == "crown-ibp" else {}
    found = loss_of(recipe_of(name, "l2", **options), net, images, labels)
    weight = net[1].weight
    apart = (weight[labels].unsqueeze(1) - weight).norm(dim=2)
    logits = net(images)
    worst = logits - logits.gather(1, labels.unsqueeze(1)) + EPS * apart
    torch.testing.assert_close(found, cross_entropy(worst, labels, reduction="none"))
