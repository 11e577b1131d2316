"""Properties of the threat, over whole batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.threat import Threat

threats = st.builds(
    Threat,
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.sampled_from([0.0, 1 / 255, 8 / 255, 0.3, 1.5, 20.0]),
)
seeds = st.integers(0, 10**6)


def batch(seed, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.rand(16, 3, 5, 5, generator=generator)
    origins[0], origins[1] = 0.0, 1.0  # corners of the box
    moved = origins + spread * torch.randn(16, 3, 5, 5, generator=generator)
    return origins, moved


@given(threats, seeds)
@settings(max_examples=60, deadline=None)
def test_projection_lands_inside_by_exact_arithmetic(threat, seed):
    origins, moved = batch(seed)
    assert bool(threat.inside(threat.project(moved, origins), origins).all())


@given(threats, seeds)
@settings(max_examples=60, deadline=None)
def test_projection_is_idempotent(threat, seed):
    origins, moved = batch(seed)
    once = threat.project(moved, origins)
    assert torch.allclose(threat.project(once, origins), once, rtol=0, atol=3e-7)


@given(threats, seeds, st.sampled_from([1e-3, 0.1, 1.0]))
@settings(max_examples=60, deadline=None)
def test_projection_is_non_expansive(threat, seed, spread):
    origins, first = batch(seed)
    second = first + spread * torch.randn(
        first.shape, generator=torch.Generator().manual_seed(seed + 1)
    )
    before = threat.distance(first, second)
    after = threat.distance(threat.project(first, origins), threat.project(second, origins))
    assert bool((after <= before * (1 + 1e-5) + 1e-6).all())


@given(threats, seeds)
@settings(max_examples=30, deadline=None)
def test_points_already_inside_stay(threat, seed):
    origins, _ = batch(seed)
    inner = Threat(threat.norm, 0.98 * threat.eps)
    points = inner.project(batch(seed)[1], origins)
    assert torch.allclose(threat.project(points, origins), points, rtol=0, atol=1e-6)


@given(threats, seeds)
@settings(max_examples=60, deadline=None)
def test_steepest_step_is_a_unit_vector_and_no_other_unit_vector_climbs_more(threat, seed):
    _, gradients = batch(seed)
    step = threat.steepest(gradients)
    zeros = torch.zeros_like(step)
    assert torch.allclose(threat.distance(step, zeros), torch.ones(16, dtype=torch.float64))
    dual = 1 if threat.norm == "linf" else 2
    climb = (step * gradients).flatten(1).sum(1)
    assert torch.allclose(climb, gradients.flatten(1).norm(p=dual, dim=1), rtol=1e-4)


@given(threats, seeds)
@settings(max_examples=60, deadline=None)
def test_random_points_are_inside_and_reproducible(threat, seed):
    origins, _ = batch(seed)
    first, second = (
        threat.random_point(origins, torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert bool(threat.inside(first, origins).all())
    assert torch.equal(first, second)


@pytest.mark.parametrize(("norm", "dimension"), [("linf", 2), ("l2", 2), ("l2", 5)])
def test_random_points_are_uniform_in_the_ball(norm, dimension, generator):
    """P(distance <= r eps) = r^d: the deciles of the distance must come out as deciles."""
    threat = Threat(norm, 0.3)
    origins = torch.full((20_000, dimension), 0.5)
    distance = threat.distance(threat.random_point(origins, generator), origins) / 0.3
    for fraction in (0.1, 0.5, 0.9):
        found = (distance <= fraction ** (1 / dimension)).double().mean().item()
        assert found == pytest.approx(fraction, abs=0.015)


def test_vanishing_and_broken_gradients_do_not_move():
    broken = torch.tensor([[0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0], [1e-30, 0.0]])
    assert torch.equal(Threat("l2", 1.0).steepest(broken)[0], torch.zeros(2))
    assert bool(Threat("l2", 1.0).steepest(broken).isfinite().all())
    assert Threat("linf", 1.0).steepest(broken).tolist()[1] == [0.0, 1.0]
    assert Threat("l2", 1.0).steepest(broken)[3].tolist() == [1.0, 0.0]


def test_nan_is_outside():
    threat = Threat("linf", 1.0)
    assert not bool(threat.inside(torch.tensor([[torch.nan]]), torch.tensor([[0.5]])).any())


def test_l2_radius_of_the_enclosing_ball():
    assert Threat("l2", 0.5).l2_radius(784) == 0.5
    assert Threat("linf", 0.1).l2_radius(784) == pytest.approx(2.8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linf", -0.1), "at least 0"),
        (("linf", float("nan")), "finite"),
        (("linf", 0.1, 1.0, 0.0), "below"),
    ],
)
def test_bad_threats_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Threat(*arguments)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("walls", [(-math.inf, math.inf), (0.0, math.inf), (-1e6, 1e6)])
def test_rounding_in_a_wide_box_is_that_of_the_images(norm, walls):
    """An infinite wall would take an infinite guard from eps, and leave nothing of the ball."""
    origins = torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) * 100
    threat = Threat(norm, 3.0, *walls)
    moved = threat.project(origins + 50, origins)
    assert bool(threat.inside(moved, origins).all())
    length = threat.distance(moved, origins)
    assert length.min() > 3 * (1 - 1e-4)
    assert threat.doubts(origins) == []
    assert bool(threat.inside(threat.random_point(origins), origins).all())


def test_a_wide_box_around_large_images_is_told():
    origins = torch.full((2, 3), 1e7)
    (doubt,) = Threat("linf", 3.0, -math.inf, math.inf).doubts(origins)
    assert "Pass images in float64" in doubt


def test_walls_stand_far_around_the_images():
    origins = torch.tensor([[-3.0, 5.0]])
    walled = Threat("l2", 2.0, -math.inf, math.inf).walled(origins)
    assert (walled.low, walled.high) == (-20.0, 22.0)
    assert Threat("l2", 2.0, 0.0, math.inf).walled(origins).low == 0
    assert Threat().walled(origins) == Threat()
