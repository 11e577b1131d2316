"""Auto-PGD: the published schedule, linear models, independence of the batch."""

import pytest
import torch
from oracles import Linear

from surefoot.attacks import apgd
from surefoot.attacks.apgd import checkpoints, random_starts
from surefoot.models import build
from surefoot.threat import Threat


@pytest.mark.parametrize(
    ("steps", "places"),
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
        (50, [11, 21, 30, 38, 45]),
        (200, [44, 82, 114, 140, 160, 174, 186, 198]),
        (10, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_checkpoints_of_the_reference(steps, places):
    found = checkpoints(steps)
    assert found[: len(places)] == places
    assert len(found) == len(places) or steps == 50


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_success_exactly_beyond_the_nearest_boundary(norm, generator):
    weight = torch.randn(2, 30, generator=generator)
    model = Linear(weight)
    images = 0.5 + 0.02 * torch.randn(64, 30, generator=generator)
    labels = model(images).argmax(1)
    normal = weight[0] - weight[1]
    lead = (images @ normal).abs()
    distance = lead / (normal.abs().sum() if norm == "linf" else normal.norm())
    eps = distance.median().item()
    found = apgd(model, images, labels, threat=Threat(norm, eps), steps=50)
    broken = model(found).argmax(1) != labels
    clear = (distance - eps).abs() > 1e-3 * eps
    assert torch.equal(broken[clear], (distance < eps)[clear])


@pytest.fixture
def case(generator):
    torch.manual_seed(0)
    model = build("mlp", inputs=64, hidden=(64, 64)).eval()
    images = torch.rand(40, 1, 8, 8, generator=generator)
    return model, images, model(images).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_results_do_not_depend_on_batch_size_or_order(case, norm):
    model, images, labels = case
    threat = Threat(norm, 0.02 if norm == "linf" else 0.1)
    whole = apgd(model, images, labels, threat=threat, steps=30)
    flips = model(whole).argmax(1) != labels
    assert 0 < flips.sum() < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    parts = [apgd(model, images[i], labels[i], threat=threat, steps=30) for i in order.split(7)]
    again = torch.cat(parts)[order.argsort()]
    assert torch.equal(model(again).argmax(1) != labels, flips)


def test_misclassified_images_are_left_alone(case):
    model, images, labels = case
    found = apgd(model, images, (labels + 1) % 10, threat=Threat("linf", 0.1))
    assert torch.equal(found, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_lie_on_the_surface_and_differ_by_seed(norm, generator):
    images = torch.full((8, 3, 4, 4), 0.5)
    images += 1e-3 * torch.rand(images.shape, generator=generator)
    threat = Threat(norm, 0.2)
    start = random_starts(images, threat, 0, 0)
    assert torch.allclose(threat.distance(start, images), torch.tensor(0.2).double(), atol=1e-5)
    assert not torch.equal(start, random_starts(images, threat, 1, 0))
    assert torch.equal(start, random_starts(images, threat, 0, 0))
