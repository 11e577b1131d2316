"""Boundaries and margins in the plane, where both are known in closed form."""

import math

import pytest
import torch

from surefoot import build
from surefoot.papers.toys.boundaries import (
    boundary,
    distance_to,
    efficiency,
    grid,
    logit_margin,
    margins,
    smallest_ratio,
)
from surefoot.papers.toys.oscillation import Changes
from surefoot.papers.toys.simplicity import randomised_aucs


def two_logits(function):
    """Make a classifier whose class 1 leads class 0 by a function of the points."""
    return lambda points: torch.stack([torch.zeros(len(points)), function(points)], 1)


def line(weight, bias):
    return two_logits(lambda points: points @ torch.tensor(weight) + bias)


def circle(radius):
    return two_logits(lambda points: radius - torch.linalg.vector_norm(points - 0.5, dim=1))


def some_points(count, generator, low=0.35, high=0.65):
    return low + (high - low) * torch.rand(count, 2, generator=generator)


@pytest.mark.parametrize("weight", [(1.0, 0.0), (0.0, -1.0), (1.0, 1.0), (2.0, -0.7)])
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_margins_of_a_line(weight, norm, dual, generator):
    points = some_points(200, generator)
    model = line(weight, -0.5 * sum(weight) + 0.03)
    values = logit_margin(model, points)
    exact = values.double() / torch.tensor(weight, dtype=torch.float64).norm(p=dual)
    upper = torch.ones(200, dtype=torch.int64)
    found = margins(model, points, upper, norm=norm, resolution=50)
    torch.testing.assert_close(found, exact, atol=2e-6, rtol=0)
    torch.testing.assert_close(margins(model, points, 1 - upper, norm=norm, resolution=50), -found)


def test_margins_of_a_circle(generator):
    points = some_points(300, generator, 0.05, 0.95)
    labels = torch.ones(300, dtype=torch.int64)
    exact = 0.3 - torch.linalg.vector_norm(points.double() - 0.5, dim=1)
    found = margins(circle(0.3), points, labels, norm="l2", resolution=300)
    # A chord over a cell of width h leaves the circle by at most h^2 / (4 r).
    torch.testing.assert_close(found, exact, atol=2e-5, rtol=0)
    angles = torch.linspace(0, 2 * math.pi, 40_001, dtype=torch.float64)
    ring = 0.5 + 0.3 * torch.stack([angles.cos(), angles.sin()], 1)
    brute = torch.cdist(points.double(), ring, p=torch.inf).amin(1)
    found = margins(circle(0.3), points, labels, norm="linf", resolution=300)
    torch.testing.assert_close(found.abs(), brute, atol=5e-5, rtol=0)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_distance_to_segments_is_the_least_over_all_their_points(norm, generator):
    segments = torch.rand(30, 2, 2, generator=generator, dtype=torch.float64)
    segments[0, 1] = segments[0, 0]  # a point
    segments[1, 1, 0] = segments[1, 0, 0]  # upright
    segments[2, 1] = segments[2, 0] + 0.2  # diagonal: both coordinates stay equally far
    points = torch.rand(50, 2, generator=generator)
    fraction = torch.linspace(0, 1, 2001, dtype=torch.float64).view(-1, 1, 1)
    for index in range(30):
        own = segments[index : index + 1]
        places = (own[:, 0] + fraction * (own[:, 1] - own[:, 0])).view(-1, 2)
        order = 2 if norm == "l2" else torch.inf
        brute = torch.cdist(points.double(), places, p=order).amin(1)
        found = distance_to(own, points, norm=norm)
        assert (found <= brute + 1e-12).all()
        assert (found >= brute - 4e-4).all()
    together = distance_to(segments, points, norm=norm)
    each = [distance_to(segments[index : index + 1], points, norm=norm) for index in range(30)]
    torch.testing.assert_close(together, torch.stack(each).amin(0))


def test_all_ends_lie_on_the_boundary_of_a_net():
    torch.manual_seed(0)
    model = build("mlp", inputs=2, hidden=(32, 32), classes=2)
    with torch.no_grad():
        model[-1].bias -= logit_margin(model, torch.full((1, 2), 0.5)) * torch.tensor([0.0, 1.0])
    found = boundary(model, resolution=60)
    assert len(found) > 30
    values = logit_margin(model, found.flatten(0, 1).float())
    scale = logit_margin(model, grid(60)).abs().max()
    assert values.abs().max() < 1e-5 * scale
    assert (found[:, 0] - found[:, 1]).abs().max() <= 1 / 59 + 1e-6


@pytest.mark.parametrize("turn", [0.0, 0.004, -0.004])
def test_saddles_are_joined_by_the_class_of_the_middle(turn, generator):
    """Two crossing lines: class 1 in two opposite quarters, its middle moved to either class."""
    model = two_logits(lambda points: (points[:, 0] - 0.5) * (points[:, 1] - 0.5) + turn**2)
    points = some_points(200, generator, 0.2, 0.8)
    labels = (logit_margin(model, points) > 0).long()
    found = margins(model, points, labels, norm="l2", resolution=40)
    to_lines = (points.double() - 0.5).abs().amin(1)
    assert (found > 0).all()
    torch.testing.assert_close(found, to_lines, atol=0.01, rtol=0)
    segments = boundary(model, resolution=40)
    # Each crossing belongs to two cells, or to one at the rim of the box: four ends stay single.
    ends = (segments.flatten(0, 1) * 1e7).round()
    _, counts = ends.unique(dim=0, return_counts=True)
    assert (counts == 1).sum() == 4
    assert counts.max() == 2


def test_without_a_boundary_margins_are_infinite():
    points, labels = torch.rand(4, 2), torch.tensor([1, 1, 0, 0])
    found = margins(line((0.0, 0.0), 1.0), points, labels, norm="l2", resolution=20)
    assert found.tolist() == [math.inf, math.inf, -math.inf, -math.inf]


def test_ratio_and_efficiency_by_hand():
    found = torch.tensor([0.1, 0.4, -0.05], dtype=torch.float64)
    gaps = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    assert smallest_ratio(found, gaps) == pytest.approx(-0.5)
    assert efficiency(found, gaps) == pytest.approx((0.5 + 1 - 0.5) / 3)
    assert efficiency(gaps / 2, gaps) == smallest_ratio(gaps / 2, gaps) == 1


def test_only_two_classes_in_the_plane():
    with pytest.raises(ValueError, match="3 outcomes of 2 coordinates"):
        boundary(lambda points: torch.zeros(len(points), 3))
    with pytest.raises(ValueError, match="2 outcomes of 3 coordinates"):
        logit_margin(lambda points: torch.zeros(len(points), 2), torch.rand(4, 3))


def test_changes_are_counted_at_each_place():
    changes = Changes()
    for predictions in ([0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]):
        changes.see(torch.nn.functional.one_hot(torch.tensor(predictions), 2).float())
    assert changes.counts is not None
    assert changes.counts.tolist() == [1, 3, 0]
    assert Changes().counts is None


def test_only_the_block_that_is_looked_at_matters(generator):
    labels = torch.randint(2, (600,), generator=generator)
    noise = 0.4 * torch.rand(600, 2, 3, generator=generator)
    images = 0.5 * labels.view(-1, 1, 1) + noise
    model = two_logits(lambda points: points[:, 0].sum(1))
    first = torch.zeros(2, 3, dtype=torch.bool)
    first[0] = True
    found = randomised_aucs(model, images, labels, {"first row": first, "second row": ~first})
    assert found["none"] == found["second row"] == 1.0
    assert found["first row"] == pytest.approx(0.5, abs=0.07)
    again = randomised_aucs(model, images, labels, {"first row": first})
    assert again["first row"] == found["first row"]


def test_auc_is_the_share_of_pairs_in_order(generator):
    images = torch.rand(60, 1, generator=generator)
    labels = torch.randint(2, (60,), generator=generator)
    found = randomised_aucs(two_logits(lambda points: points[:, 0]), images, labels, {})
    pairs = images[labels == 1] - images[labels == 0].T
    assert found == {"none": pytest.approx((pairs > 0).double().mean().item())}


def test_blocks_have_the_shape_of_an_image():
    with pytest.raises(ValueError, match=r"'one' must be of the shape of an image, \(2,\)"):
        randomised_aucs(
            line((1.0, 1.0), 0.0),
            torch.rand(4, 2),
            torch.tensor([0, 1, 0, 1]),
            {"one": torch.ones(3, dtype=torch.bool)},
        )
