import pytest
import torch

from surefoot.limits.balls import Balls
from surefoot.limits.half_spaces import HalfSpaces
from surefoot.limits.rectangles import Rectangles
from surefoot.limits.regions import ROWS

GRID = torch.cartesian_prod(*[torch.arange(-4, 4.01, 0.125, dtype=torch.float64)] * 2)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2.0), ("linf", torch.inf)])
def test_expansion_holds_what_some_point_of_the_region_reaches(norm, order):
    region = Balls(
        torch.tensor([[-1.0, 0.0], [1.5, 0.5]], dtype=torch.float64),
        torch.tensor([1.0, 0.5], dtype=torch.float64),
        norm,
    )
    inside = GRID[region.contains(GRID)]
    reached = (torch.cdist(GRID, inside, p=order) <= 0.75).any(1)
    expanded = region.expand(0.75).contains(GRID)
    assert not (reached & ~expanded).any()
    # The grid misses border points of the region by at most one step.
    missed = GRID[expanded & ~reached]
    near = (torch.cdist(missed, inside, p=order) <= 0.75 + 0.125).any(1)
    assert near.all()


def test_the_border_belongs_to_the_region_and_a_nan_does_not():
    region = Balls(torch.zeros(1, 2), torch.ones(1), "l2")
    points = torch.tensor([[1.0, 0.0], [1.0, 0.001], [float("nan"), 0.0]])
    assert region.contains(points).tolist() == [True, False, False]


def test_blocks_do_not_change_the_result():
    points = torch.randn(2 * ROWS + 3, 2, generator=torch.Generator().manual_seed(0))
    region = Balls(torch.zeros(1, 2), torch.ones(1), "linf")
    assert torch.equal(region.contains(points), (points.abs().amax(1) <= 1))


def reached_by(region, eps, order):
    """Points of the grid within eps of a point of the grid that lies in the region."""
    return (torch.cdist(GRID, GRID[region.contains(GRID)], p=order) <= eps + 1e-9).any(1)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2.0), ("linf", torch.inf)])
def test_half_spaces_expand_exactly(norm, order):
    normals = torch.tensor([[1.0, 0.0], [-3.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    region = HalfSpaces(normals, torch.tensor([-2.0, -9.0, -4.0], dtype=torch.float64), norm)
    expanded = region.expand(0.75).contains(GRID)
    reached = reached_by(region, 0.75, order)
    assert not (reached & ~expanded).any()
    # Against brute force on a far finer set: the projection onto each border is the nearest point.
    lengths = torch.linalg.vector_norm(normals, 2.0 if norm == "l2" else 1.0, dim=1)
    gaps = (GRID @ normals.T - region.offsets) / lengths
    assert torch.equal(expanded, (gaps <= 0.75).any(1))
    step = normals.sign() if norm == "linf" else normals / lengths.unsqueeze(1)
    for component in range(3):
        # Walking eps along the steepest direction just reaches the half-space.
        alone = HalfSpaces(normals[[component]], region.offsets[[component]], norm)
        near = GRID[alone.expand(0.75).contains(GRID)]
        assert alone.contains(near - (0.75 + 1e-9) * step[component]).all()
        far = GRID[~alone.expand(0.75).contains(GRID)]
        assert not alone.contains(far - (0.75 - 1e-9) * step[component]).any()


def test_the_border_of_a_half_space_belongs_to_it_and_a_nan_does_not():
    region = HalfSpaces(torch.ones(1, 2).double(), torch.ones(1).double(), "l2")
    points = torch.tensor([[0.5, 0.5], [0.5, 0.51], [float("nan"), 0.0]])
    assert region.contains(points).tolist() == [True, False, False]


def test_outside_of_one_rectangle_expands_exactly():
    low, high = torch.tensor([[-2.0, -1.0]]).double(), torch.tensor([[1.0, 3.0]]).double()
    region = Rectangles(low, high)
    assert region.contains(torch.tensor([[0.0, 0.0], [1.0, 3.0], [1.1, 0.0]])).tolist() == [
        *(False, False, True)
    ]
    expanded = region.expand(0.5).contains(GRID)
    reached = reached_by(region, 0.5, torch.inf)
    # The region is open: a point at distance eps of its border is within eps of no point of it.
    assert not (reached & ~expanded).any()
    missed = GRID[expanded & ~reached]
    assert (
        ((missed - low).abs().amin(1) < 0.75).logical_or((high - missed).abs().amin(1) < 0.75).all()
    )


def test_outside_of_several_rectangles_is_bounded_from_above():
    low = torch.tensor([[0.0, -9.0], [1.5, -9.0]]).double()
    high = torch.tensor([[1.0, 9.0], [2.5, 9.0]]).double()
    grown = Rectangles(low - 0.5, high + 0.5)  # they overlap: [-.5, 1.5] and [1, 3]
    expanded = grown.expand(0.5).contains(GRID)
    reached = reached_by(grown, 0.5, torch.inf)
    assert not (reached & ~expanded).any()
    middle = torch.tensor([[1.25, 0.0]]).double()
    assert grown.expand(0.5).contains(middle).all()  # though no point of the region is near
    assert not reached[(GRID - middle).abs().amax(1) < 1e-9].any()


def test_a_rectangle_that_shrinks_to_nothing_leaves_everything():
    region = Rectangles(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    assert region.expand(0.6).contains(GRID).all()
    nothing = torch.zeros(0, 2).double()
    assert Rectangles(nothing, nothing).contains(GRID).all()
