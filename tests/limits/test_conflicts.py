"""Ceilings: small cases against all classifiers there are, larger ones against known answers."""

import itertools

import numpy as np
import pytest
import torch

from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.limits import conflict_bound
from surefoot.limits import conflicts as room
from surefoot.limits.neighbours import close_pairs


def distances(points, norm):
    gap = points.flatten(1).double()
    return torch.cdist(gap, gap, p=2.0 if norm == "l2" else float("inf"))


def brute_hard(points, labels, reach, norm):
    """Try every subset of the points."""
    close = (distances(points, norm) <= reach) & (labels.unsqueeze(1) != labels)
    best = 0
    for chosen in itertools.product((False, True), repeat=len(points)):
        keep = torch.tensor(chosen)
        if not bool(close[keep][:, keep].any()):
            best = max(best, int(keep.sum()))
    return best / len(points)


def brute_soft(points, fractions, reach, norm):
    """Try every labelling, with "none" as one more answer."""
    close = distances(points, norm) <= reach
    count, classes = fractions.shape
    best = 0.0
    for answer in itertools.product(range(classes + 1), repeat=count):
        given = torch.tensor(answer)
        both = (given < classes).unsqueeze(1) & (given < classes)
        if not bool((close & both & (given.unsqueeze(1) != given)).any()):
            gains = torch.cat([fractions, torch.zeros(count, 1)], 1)[torch.arange(count), given]
            best = max(best, gains.sum().item())
    return best / count


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("classes", [2, 3])
def test_hard_labels_against_every_subset(norm, classes, generator):
    for _ in range(15):
        points = torch.rand(9, 2, generator=generator)
        labels = torch.randint(classes, (9,), generator=generator)
        for guarantee, reach in ((Local(), 0.4), (LabelOrUncertain(), 0.2)):
            found = conflict_bound(points, labels, eps=0.2, norm=norm, guarantee=guarantee)
            assert found.exact
            expected = brute_hard(points, labels, reach, norm)
            assert found.value == pytest.approx(expected, abs=1e-9)
            assert found.value >= expected


@pytest.mark.parametrize("classes", [2, 3])
def test_soft_labels_against_every_labelling(classes, generator):
    for _ in range(8):
        points = torch.rand(5, 2, generator=generator)
        fractions = torch.rand(5, classes, generator=generator).double()
        fractions = fractions / fractions.sum(1, keepdim=True)
        found = conflict_bound(points, fractions, eps=0.2, norm="l2")
        expected = brute_soft(points, fractions, 0.4, "l2")
        assert found.exact
        assert found.value == pytest.approx(expected, abs=2e-6)


def test_certain_soft_labels_are_hard_labels(generator):
    points = torch.rand(40, 2, generator=generator)
    labels = torch.randint(3, (40,), generator=generator)
    fractions = torch.nn.functional.one_hot(labels, 3).double()
    for eps in (0.0, 0.02, 0.06):
        hard = conflict_bound(points, labels, eps=eps, norm="linf")
        soft = conflict_bound(points, fractions, eps=eps, norm="linf")
        assert soft.value == pytest.approx(hard.value, abs=1e-5)
        assert soft.conflicts >= hard.conflicts


def test_no_conflict_is_no_ceiling_and_soft_labels_bind_all_the_same():
    points = torch.eye(3)
    found = conflict_bound(points, torch.tensor([0, 1, 2]), eps=0.1, norm="l2")
    assert (found.value, found.exact, found.conflicts) == (1.0, True, 0)
    fractions = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
    soft = conflict_bound(points, fractions, eps=0.1, norm="l2")
    assert soft.value == pytest.approx((0.8 + 0.5 + 0.9) / 3, abs=1e-6)


def test_equal_points_of_two_labels_conflict_at_radius_zero():
    points = torch.zeros(4, 3)
    found = conflict_bound(points, torch.tensor([0, 0, 0, 1]), eps=0.0, norm="l2")
    assert found.value == pytest.approx(0.75)
    assert found.conflicts == 3


@pytest.mark.parametrize("guarantee", [TopK(2), RelaxedTopK(2), Affinity(((0, 1), (2,)))], ids=repr)
def test_sets_have_no_ceiling(guarantee):
    found = conflict_bound(
        torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), eps=1.0, norm="l2", guarantee=guarantee
    )
    assert (found.value, found.exact, found.conflicts) == (1.0, False, 0)


def test_where_time_runs_out_the_bound_holds_and_is_not_exact(generator, monkeypatch):
    points = torch.rand(60, 2, generator=generator)
    labels = torch.randint(3, (60,), generator=generator)
    exact = conflict_bound(points, labels, eps=0.15, norm="l2")
    monkeypatch.setattr(room, "SECONDS", 0.0)
    hurried = conflict_bound(points, labels, eps=0.15, norm="l2")
    assert hurried.value >= exact.value - 1e-9
    relaxed = room._relaxed(np.ones(2), room.csr_array(np.array([[1.0, 1.0]])))
    assert relaxed == pytest.approx(1.0)


def test_a_nearest_neighbour_rule_obeys_the_ceiling(generator):
    """A classifier that exists: the label of the nearest kept point is robust up to eps."""
    points = torch.rand(200, 2, generator=generator)
    labels = (points[:, 0] + 0.1 * torch.randn(200, generator=generator) > 0.5).long()
    eps = 0.03
    ceiling = conflict_bound(points, labels, eps=eps, norm="l2")
    assert 0.5 < ceiling.value < 1
    gaps = distances(points, "l2")
    other = gaps.masked_fill(labels.unsqueeze(1) == labels, torch.inf).amin(1)
    robust = (other > 2 * eps).double().mean().item()  # safe for the rule of one neighbour
    assert robust <= ceiling.value


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_close_pairs_against_brute_force(norm, generator):
    points = torch.rand(700, 300, generator=generator).round(decimals=1)
    points[500:] = points[:200] + 0.05 * torch.rand(200, 300, generator=generator)
    reach = 0.5 if norm == "l2" else 0.0499
    pairs, whole = close_pairs(points, reach, norm)
    close = (distances(points, norm) <= reach).triu(1).nonzero()
    assert whole
    assert torch.equal(pairs[pairs[:, 0].argsort(stable=True)], close)
    assert len(close) > 20
    few, whole = close_pairs(points, 100.0, norm, most=1000)
    assert len(few) == 1000
    assert not whole


@pytest.mark.parametrize(
    ("points", "labels", "eps", "message"),
    [
        (torch.zeros(2, 1), torch.zeros(3, dtype=torch.long), 0.1, "as many labels"),
        (torch.full((2, 1), torch.nan), torch.zeros(2, dtype=torch.long), 0.1, "finite"),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), -1.0, "`eps`"),
        (torch.zeros(2, 1), torch.full((2, 2), 2.0), 0.1, "fractions"),
    ],
)
def test_bad_arguments(points, labels, eps, message):
    with pytest.raises(ValueError, match=message):
        conflict_bound(points, labels, eps=eps, norm="l2")


def shared_point(one: float, other: float, eps: float) -> bool:
    """Whether some float32 number lies within eps of both, by exact arithmetic."""
    low, high = max(one, other) - eps, min(one, other) + eps
    middle = np.float32((low + high) / 2)
    near = (np.nextafter(middle, np.float32(-9)), middle, np.nextafter(middle, np.float32(9)))
    return any(abs(float(z) - one) <= eps and abs(float(z) - other) <= eps for z in near)


def test_balls_that_just_touch_make_the_bound_inexact():
    line = torch.tensor([[0.0], [1.0]])
    for norm in ("l2", "linf"):
        touching = conflict_bound(line, torch.tensor([0, 1]), eps=0.5, norm=norm)
        assert (touching.value, touching.exact, touching.conflicts) == (1.0, False, 0)
        meeting = conflict_bound(line, torch.tensor([0, 1]), eps=0.5 + 1e-6, norm=norm)
        assert (meeting.value, meeting.exact) == (pytest.approx(0.5), True)
        apart = conflict_bound(line, torch.tensor([0, 1]), eps=0.5 - 1e-6, norm=norm)
        assert (apart.value, apart.exact) == (1.0, True)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_grey_levels_twice_eps_apart_are_no_proof(steps):
    """Of 256 levels, many pairs 2 eps apart share no float32 image: no classifier is refuted."""
    grid = torch.arange(256, dtype=torch.float32)[:, None] / 255
    labels, eps = (torch.arange(256) // 16) % 2, steps / 255
    found = conflict_bound(grid, labels, eps=eps, norm="linf")
    assert not found.exact
    pairs, whole = close_pairs(grid, 2 * eps, "linf", margin=2.0**-23)
    assert not whole
    levels = grid[:, 0].double()
    assert all(shared_point(levels[i].item(), levels[j].item(), eps) for i, j in pairs.tolist())
    wider = conflict_bound(grid, labels, eps=eps * (1 + 1e-4), norm="linf")
    assert wider.exact
    assert wider.value <= found.value


def test_equal_points_conflict_at_any_radius():
    found = conflict_bound(torch.zeros(3, 2), torch.tensor([0, 1, 1]), eps=0.0, norm="l2")
    assert (found.value, found.exact, found.conflicts) == (pytest.approx(2 / 3), True, 2)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("offset", [1e3, 1e6, -1e6])
def test_large_coordinates_lose_no_conflict(norm, offset, generator):
    points = torch.rand(300, 5, generator=generator).double()
    labels = torch.randint(2, (300,), generator=generator)
    here = conflict_bound(points, labels, eps=0.1, norm=norm)
    there = conflict_bound(points + offset, labels, eps=0.1, norm=norm)
    assert here.conflicts > 10
    assert there.conflicts == here.conflicts
    assert there.value == here.value


def test_the_ceiling_of_either_guarantee_counts_a_point_in_the_ball_of_another():
    line = torch.tensor([[0.0], [0.25]])
    either = {"norm": "linf", "guarantee": LabelOrUncertain()}
    assert conflict_bound(line, torch.tensor([0, 1]), eps=0.25, **either).conflicts == 0
    assert not conflict_bound(line, torch.tensor([0, 1]), eps=0.25, **either).exact
    assert conflict_bound(line, torch.tensor([0, 1]), eps=0.2501, **either).conflicts == 1


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type_are_the_same(kind, generator):
    points = torch.rand(60, 2, generator=generator)
    labels = torch.randint(3, (60,), generator=generator)
    wanted = conflict_bound(points, labels, eps=0.1, norm="l2")
    assert conflict_bound(points, labels.to(kind), eps=0.1, norm="l2") == wanted
    assert conflict_bound(points, labels.to(kind)[:, None], eps=0.1, norm="l2") == wanted


@pytest.mark.parametrize("labels", [torch.tensor([0, -100]), torch.tensor([0.0, 1.0])])
def test_what_is_no_label_is_named(labels):
    with pytest.raises(ValueError, match="`labels` must be one integer"):
        conflict_bound(torch.zeros(2, 1), labels, eps=0.1, norm="l2")


@pytest.mark.parametrize("norm", ["L2", "2", "l1"])
def test_another_norm_is_named(norm):
    points, labels = torch.tensor([[0.0, 0.0], [0.9, 0.9]]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="norm"):
        conflict_bound.__wrapped__(points, labels, eps=0.6, norm=norm)  # without the type check


def test_integer_points_are_named_and_the_advice_helps():
    points, labels = torch.tensor([[0, 0], [9, 9]], dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"points\.double\(\)"):
        conflict_bound.__wrapped__(points, labels, eps=6.0, norm="linf")
    assert conflict_bound(points.double(), labels, eps=6.0, norm="linf").conflicts == 1
