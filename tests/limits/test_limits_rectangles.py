"""Complements of rectangles: outliers are found; what is out of reach is said."""

import pytest
import torch

from surefoot.limits import concentration
from surefoot.limits.rectangles import _clusters, _rarity

SETTINGS = {"risk": 0.08, "gamma": 0.0, "eps": 0.2, "norm": "linf", "family": "rectangles"}


def lumps(count, seed=0):
    """Two dense lumps, and every tenth point far off."""
    source = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=source)
    points[::2] += 10
    points[::10] = 40 + 60 * torch.rand(len(points[::10]), 3, generator=source)
    return points


def test_outliers_are_the_region_and_the_lumps_are_not():
    points = lumps(2000)
    found = concentration(points, torch.zeros(2000), components=2, delta=0.0, **SETTINGS)
    assert found.feasible
    assert found.adversarial_risk.value <= 0.16
    region = found.region
    assert region.contains(points[::10]).double().mean() > 0.7
    assert not region.contains(torch.tensor([[0.5, 0.5, 0.5], [10.5, 10.5, 10.5]])).any()


def test_density_is_the_distance_to_the_fiftieth_neighbour():
    points = lumps(300)
    distances = torch.cdist(points, points, p=1).sort(1).values
    torch.testing.assert_close(_rarity(points, 0), distances[:, 50])


def test_clusters_are_a_fixed_point_of_k_means():
    points = lumps(400)[1::2]
    owner = _clusters(points, 3, 0)
    centres = torch.stack([points[owner == cluster].mean(0) for cluster in owner.unique()])
    nearest = torch.cdist(points, centres, p=1).argmin(1)
    assert torch.equal(owner.unique()[nearest], owner)


def test_gamma_is_kept_or_out_of_reach():
    points = lumps(2000)
    unsure = torch.zeros(2000)
    unsure[::10] = 0.8
    found = concentration(points, unsure, components=2, **(SETTINGS | {"gamma": 0.5}))
    assert found.feasible
    assert found.search.label_uncertainty.value >= 0.5
    lumped = concentration(points, 0.8 - unsure, components=2, **(SETTINGS | {"gamma": 0.79}))
    assert not lumped.feasible
    assert lumped.largest_gamma == pytest.approx(0.8, abs=1e-6)


def test_equal_points_and_fewer_points_than_components():
    equal = concentration(torch.ones(40, 2), torch.zeros(40), **SETTINGS)
    assert not equal.feasible or equal.risk.value == 1.0
    few = concentration(lumps(8), torch.zeros(8), components=20, **SETTINGS)
    assert few.feasible
    assert few.risk.high - few.risk.low > 0.8  # two points report


def test_l2_raises():
    with pytest.raises(ValueError, match=r"`family` 'rectangles'.*balls, half-spaces"):
        concentration(lumps(20), torch.zeros(20), **(SETTINGS | {"norm": "l2"}))
