"""Swapped balls against brute force, and balls around some points only."""

import re

import pytest
import torch

from surefoot.limits import concentration
from surefoot.limits.balls import GAP, Balls, prepare
from surefoot.limits.goal import Goal


def clustered(seed: int, count: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = 4 * torch.randn(6, 2, generator=generator).double()
    spread = torch.randn(count, 2, generator=generator).double()
    return middle[torch.arange(count) % 6] + spread * torch.linspace(0.1, 1.5, count).unsqueeze(1)


def counts(region: Balls, points: torch.Tensor, eps: float) -> tuple[int, int]:
    return int(region.contains(points).sum()), int(region.expand(eps).contains(points).sum())


def best_swap(region: Balls, points: torch.Tensor, goal: Goal) -> int:
    """Return the least waste after any one swap that covers no less, by brute force."""
    covered, _ = counts(region, points, goal.eps)
    most = max(covered, goal.budget(len(points)))
    order = 2 if goal.norm == "l2" else torch.inf
    wastes = []
    for place in range(len(region.radii)):
        kept = torch.arange(len(region.radii)) != place
        rest = Balls(region.centres[kept], region.radii[kept], goal.norm)
        uncovered = ~rest.contains(points)
        for centre in points:
            # As large as it can be before the next point that no other ball covers.
            apart = torch.linalg.vector_norm(points - centre, order, dim=1)
            for radius in apart[uncovered] - GAP:
                other = Balls(
                    torch.cat([region.centres[kept], centre[None]]),
                    torch.cat([region.radii[kept], radius[None]]),
                    goal.norm,
                )
                inside, reached = counts(other, points, goal.eps)
                if radius > 0 and covered <= inside <= most:
                    wastes.append(reached - inside)
    return min(wastes)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("seed", [0, 1])
def test_after_swaps_no_single_swap_leaves_less_expansion(norm, seed):
    points = clustered(seed)
    unsure = torch.zeros(len(points)).double()
    goal = Goal(0.3, 0.0, 0.4, norm, components=4, delta=0.0, swaps=20)
    region = prepare(points, unsure, goal)(goal)
    inside, reached = counts(region, points, goal.eps)
    assert inside >= goal.needed(len(points))
    assert reached - inside <= best_swap(region, points, goal)


def test_swaps_leave_less_expansion_than_the_greedy_search():
    gains = []
    for seed in range(4):
        points = torch.randn(400, 2, generator=torch.Generator().manual_seed(seed)).double()
        found = {}
        for swaps in (0, 3):
            goal = Goal(0.2, 0.0, 0.3, "l2", components=4, delta=0.0, swaps=swaps)
            region = prepare(points, torch.zeros(400).double(), goal)(goal)
            inside, reached = counts(region, points, goal.eps)
            assert inside >= goal.needed(len(points))
            found[swaps] = reached - inside
        gains.append(found[0] - found[3])
    assert min(gains) >= 0
    assert sum(gains) >= 4


def test_swapped_balls_keep_the_label_uncertainty():
    points = clustered(3, 200)
    unsure = torch.rand(200, generator=torch.Generator().manual_seed(0)).double()
    for constraint in ("union", "component"):
        goal = Goal(0.2, 0.55, 0.3, "l2", components=5, constraint=constraint, swaps=3)
        inside = prepare(points, unsure, goal)(goal).contains(points)
        assert unsure[inside].mean() >= 0.55 - 1e-9
        assert int(inside.sum()) >= goal.needed(200)


@pytest.mark.parametrize("family", ["balls", "cubes"])
def test_balls_grow_around_the_given_points_only(family):
    points = clustered(5, 200)
    unsure = torch.zeros(200).double()
    norm = "l2" if family == "balls" else "linf"
    settings = dict(risk=0.2, gamma=0.0, eps=0.3, norm=norm, family=family, seed=1)
    some = torch.arange(0, 200, 7)
    region = concentration(points, unsure, centres=some, **settings).region
    allowed = {tuple(row) for row in points[some].tolist()}
    assert {tuple(row) for row in region.centres.tolist()} <= allowed
    everywhere = concentration(points, unsure, centres=torch.arange(200), **settings)
    anywhere = concentration(points, unsure, **settings)
    assert torch.equal(everywhere.region.centres, anywhere.region.centres)
    assert torch.equal(everywhere.region.radii, anywhere.region.radii)


def test_centres_that_cannot_be_used_are_named():
    points, unsure = clustered(5), torch.zeros(60).double()
    settings = dict(risk=0.2, gamma=0.0, eps=0.3, norm="l2")
    with pytest.raises(ValueError, match=re.escape("`centres` must hold row numbers in [0, 59]")):
        concentration(points, unsure, centres=torch.tensor([60]), **settings)
    with pytest.raises(ValueError, match=r"balls, cubes.*found family half-spaces, 1 centres"):
        concentration(points, unsure, centres=torch.tensor([3]), family="half-spaces", **settings)
    parts = {"search": torch.arange(30), "report": torch.arange(30, 60)}
    with pytest.raises(ValueError, match="0 of them in the search part"):
        concentration(points, unsure, centres=torch.tensor([59]), **parts, **settings)
    with pytest.raises(ValueError, match="`swaps` must be at least 0"):
        Goal(0.2, 0.0, 0.3, "l2", swaps=-1)
