"""Half-spaces: brute force over ends, exact measures under a Gaussian, label uncertainty."""

import math

import pytest
import torch
from scipy.stats import norm

from surefoot.limits import concentration
from surefoot.limits.goal import Goal
from surefoot.limits.half_spaces import prepare
from surefoot.streams import generator


def cloud(points, dimensions, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(points, dimensions, generator=source, dtype=torch.float64)


def goal(**changes):
    return Goal(
        **{
            **{"risk": 0.1, "gamma": 0.0, "eps": 0.3, "norm": "l2", "components": 1, "delta": 0.0},
            **{"constraint": "union", **changes},
        }
    )


def best_on_a_line(values, unsure, aim):
    """The least expansion of {x <= b} or {x >= b} over all ends b, in plain loops."""
    best = math.inf
    for side in (values, -values):
        for end in side.unique().tolist():
            inside = side <= end
            enough = int(inside.sum()) >= aim.budget(len(side))
            if enough and unsure[inside].mean() >= aim.gamma - 1e-12:
                best = min(best, int((side <= end + aim.eps).sum()))
    return best


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.6])
@pytest.mark.parametrize("ties", [False, True])
def test_on_a_line_the_best_end_is_found(gamma, ties):
    for seed in range(8):
        values = cloud(60, 1, seed)
        if ties:
            values = (2 * values).round() / 2
        unsure = torch.rand(60, generator=torch.Generator().manual_seed(seed)).double()
        aim = goal(gamma=gamma, seed=seed)
        region = prepare(values, unsure, aim)(aim)
        # With a gamma one half of the points only teaches: judge on the other.
        seen = torch.arange(60)
        if gamma > 0:
            seen = torch.randperm(60, generator=generator(seed, 3)).tensor_split(2)[1]
        values, unsure = values[seen], unsure[seen]
        best = best_on_a_line(values.squeeze(1), unsure, aim)
        assert (region is None) == math.isinf(best)
        if region is not None:
            assert int(region.expand(0.3).contains(values).sum()) == best
            assert unsure[region.contains(values)].mean() >= gamma - 1e-12


def test_the_long_axis_wins_in_l2_and_a_single_coordinate_in_linf():
    points = cloud(2000, 4) * torch.tensor([1.0, 2.0, 1.0, 1.0])
    turn = torch.linalg.qr(cloud(4, 4, 9)).Q
    found = prepare(points @ turn.T, torch.zeros(2000).double(), goal())(goal())
    along = found.normals[0] @ turn
    assert along[1].abs() > 0.97
    aim = goal(norm="linf", eps=0.2)
    found = prepare(points, torch.zeros(2000).double(), aim)(aim)
    assert found.normals[0].abs().sum().item() == pytest.approx(1)
    assert found.normals[0].abs()[1] > 0.97


@pytest.mark.parametrize(("metric", "components"), [("l2", 1), ("linf", 1), ("l2", 3)])
def test_gaussian_intervals_cover_the_exact_measure(metric, components):
    """One half-space by Phi; a union by fresh points."""
    covered = 0
    fresh = cloud(100_000, 5, 77)
    for seed in range(20):
        points = cloud(1000, 5, seed)
        found = concentration(
            points,
            torch.zeros(1000),
            risk=0.1,
            gamma=0.0,
            eps=0.5,
            norm=metric,
            family="half-spaces",
            components=components,
            seed=seed,
        )
        expanded = found.region.expand(0.5)
        if len(expanded.offsets) == 1:
            exact = norm.cdf(expanded.offsets.item() / expanded.normals.norm().item())
        else:
            exact = expanded.contains(fresh).double().mean().item()
        covered += found.adversarial_risk.low <= exact <= found.adversarial_risk.high
    assert covered >= 16  # 19 expected


def test_gaussian_half_space_is_the_best_of_all_regions():
    points = cloud(8000, 10)
    found = concentration(
        points,
        torch.zeros(8000),
        risk=0.1,
        gamma=0.0,
        eps=1.0,
        norm="l2",
        family="half-spaces",
        components=1,
    )
    bound = norm.cdf(norm.ppf(found.risk.value) + 1)
    assert found.adversarial_risk.value == pytest.approx(bound, abs=0.03)
    assert found.calibrate.risk.value >= 0.1


def test_label_uncertainty_along_a_hidden_direction_is_found():
    points = cloud(4000, 6) * torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    hidden = torch.tensor([0.0, 1.0, -1.0, 1.0, 0.0, 0.0]).double() / 3**0.5
    unsure = torch.sigmoid(4 * (points @ hidden - 1.2))
    settings = {"risk": 0.1, "eps": 0.1, "norm": "l2", "family": "half-spaces", "components": 2}
    plain = concentration(points, unsure, gamma=0.0, **settings)
    asked = concentration(points, unsure, gamma=0.6, **settings)
    assert plain.label_uncertainty.value < 0.2
    assert asked.calibrated in ("value", "limit")
    assert asked.label_uncertainty.value >= 0.55
    assert (asked.region.normals[0] @ hidden).abs() > 0.9
    assert asked.adversarial_risk.value > plain.adversarial_risk.value


def test_two_tails_need_two_half_spaces():
    """Uncertain on both far sides of a line: one half-space takes one side only."""
    points = cloud(3000, 3) * torch.tensor([4.0, 1.0, 1.0])
    unsure = (points[:, 0].abs() > 6).double()
    settings = {"risk": 0.12, "gamma": 0.9, "eps": 0.2, "norm": "l2", "family": "half-spaces"}
    rows = torch.arange(3000)
    settings |= {"search": rows[:2000], "report": rows[2000:], "delta": 0.0}
    one = concentration(points, unsure, components=1, **settings)
    two = concentration(points, unsure, components=2, **settings)
    assert not one.feasible
    assert two.feasible
    assert len(two.region.offsets) == 2
    assert two.label_uncertainty.value >= 0.85


def test_constant_coordinates_and_equal_points():
    points = torch.ones(40, 3)
    settings = {"risk": 0.1, "gamma": 0.0, "eps": 0.1, "norm": "linf", "family": "half-spaces"}
    equal = concentration(points, torch.zeros(40), **settings)
    # Any half-space holds all of the equal points or none.
    assert equal.feasible
    assert equal.risk.value == 1.0
    points[:, 0] = torch.arange(40)
    found = concentration(points, torch.zeros(40), **settings)
    assert found.feasible
    assert found.search.risk.value < 0.5


def test_fewer_points_than_components_and_than_coordinates():
    points = cloud(6, 20).float()
    settings = {"risk": 0.3, "eps": 0.1, "norm": "l2", "family": "half-spaces", "components": 9}
    for gamma in (0.0, 0.2):
        found = concentration(points, torch.full((6,), 0.3), gamma=gamma, **settings)
        assert found.feasible
        assert not found.valid
