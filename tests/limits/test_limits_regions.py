import pytest
import torch

from surefoot.limits.regions import Balls
from surefoot.limits.regions.balls import ROWS

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


def test_blocks_do_not_change_the_answer():
    points = torch.randn(2 * ROWS + 3, 2, generator=torch.Generator().manual_seed(0))
    region = Balls(torch.zeros(1, 2), torch.ones(1), "linf")
    assert torch.equal(region.contains(points), (points.abs().amax(1) <= 1))
