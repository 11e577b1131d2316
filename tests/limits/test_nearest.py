"""Distances to the nearest point of another class: brute force, ties, hard arithmetic."""

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from surefoot import load
from surefoot.limits import nearest_other_class, neighbours

METRICS = {"l2": "euclidean", "linf": "chebyshev"}


def brute_force(points, labels, norm):
    """Measure all pairs by scikit-learn, in float64 and (l2) without the multiplied-out form."""
    rows = points.double().numpy()
    if norm == "l2":
        apart = np.stack([np.linalg.norm(rows - row, axis=1) for row in rows])
    else:
        apart = pairwise_distances(rows, metric=METRICS[norm])
    apart[labels[:, None] == labels] = np.inf
    return apart.min(1), apart.argmin(1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("dimension", [1, 2, 40, 150, 500])
def test_equals_brute_force(norm, dimension, generator):
    # More rows than a block, more columns than a tile, coordinates of very different size.
    points = torch.randn(1100, dimension, generator=generator) * torch.linspace(0.1, 1, dimension)
    labels = torch.randint(3, (1100,), generator=generator)
    found = nearest_other_class(points, labels, norm=norm)
    distance, index = brute_force(points, labels, norm)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12)
    np.testing.assert_array_equal(found.index, index)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_images_equal_brute_force(norm):
    data = load("digits", "train")
    points = data.batch(slice(None))[0].flatten(1)
    found = nearest_other_class(points, data.labels, norm=norm)
    distance, index = brute_force(points, data.labels, norm)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12)
    if norm == "l2":
        np.testing.assert_array_equal(found.index, index)  # ties are many: 17 grey levels
    assert (data.labels[found.index] != data.labels).all()
    gaps = (points - points[found.index]).double()
    measured = torch.linalg.vector_norm(gaps, 2 if norm == "l2" else torch.inf, dim=1)
    np.testing.assert_allclose(measured, distance, rtol=1e-12)


def test_cancellation_does_not_change_the_winner():
    """Far from 0 the multiplied-out form has no digit left; a millionth apart is still told."""
    offsets = torch.tensor([[0.0], [3e-6], [-2e-6], [1.0], [-1.0]], dtype=torch.float64)
    points = 1000 + offsets.expand(-1, 50)
    found = nearest_other_class(points, torch.tensor([0, 1, 1, 1, 0]), norm="l2")
    assert found.index.tolist() == [2, 0, 0, 0, 2]
    assert found.distance[0].item() == pytest.approx(2e-6 * 50**0.5, rel=1e-6)


def test_many_near_ties_are_all_measured(generator):
    base = torch.randn(1, 60, generator=generator)
    points = base + 1e-7 * torch.randn(700, 60, generator=generator, dtype=torch.float64)
    labels = torch.arange(700) % 2
    for norm in ("l2", "linf"):
        found = nearest_other_class(points, labels, norm=norm)
        distance, index = brute_force(points, labels, norm)
        np.testing.assert_allclose(found.distance, distance, rtol=1e-6)
        np.testing.assert_array_equal(found.index, index)


def test_equal_points_of_two_classes_are_at_distance_zero():
    points = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]])
    for norm in ("l2", "linf"):
        found = nearest_other_class(points, torch.tensor([0, 1, 0]), norm=norm)
        assert found.distance[:2].tolist() == [0, 0]
        assert found.index.tolist()[:2] == [1, 0]


def test_a_rare_class_is_found_though_all_likely_pairs_are_of_the_own_class(generator):
    points = torch.randn(400, 200, generator=generator)
    labels = torch.zeros(400, dtype=torch.int64)
    labels[17] = 1
    found = nearest_other_class(points, labels, norm="linf")
    assert found.index[labels == 0].unique().tolist() == [17]
    assert found.distance[17] == brute_force(points, labels, "linf")[0][17]


def test_few_pairs_are_measured_in_l2(monkeypatch, generator):
    """The bound on rounding leaves hardly more than the winners."""
    sizes = []
    measured = neighbours._measured

    def counting(points, pairs, length):
        sizes.append(len(pairs[0]))
        return measured(points, pairs, length)

    monkeypatch.setattr(neighbours, "_measured", counting)
    points = torch.rand(1500, 300, generator=generator)
    nearest_other_class(points, torch.arange(1500) % 5, norm="l2")
    assert 1500 <= sum(sizes) < 1.2 * 1500


def test_one_class_raises():
    with pytest.raises(ValueError, match="2 points, 2 labels of 1 classes"):
        nearest_other_class(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), norm="l2")
    with pytest.raises(ValueError, match="3 labels"):
        nearest_other_class(torch.zeros(2, 3), torch.tensor([0, 1, 1]), norm="l2")
