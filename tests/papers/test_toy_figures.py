"""Largest margins, attacked points and grids of boundaries: known answers."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from surefoot.data import Data
from surefoot.data.toys import UNIT, narrow_corridor, slabs
from surefoot.limits import nearest_other_class
from surefoot.papers.attacked_points import shown_attacks
from surefoot.papers.drawing.attacked_figure import attacked_grid
from surefoot.papers.toy_experiments import _measured
from surefoot.papers.toys.boundaries import efficiency, margins, smallest_ratio
from surefoot.papers.toys.largest_margin import nearest_point_classifier
from surefoot.papers.toys.suite import Panel, ToyResult
from surefoot.threat import Threat


@pytest.mark.parametrize(("norm", "off"), [("l2", 1e-5), ("linf", 1e-3)])
@pytest.mark.parametrize("name", ["corridor", "slabs"])
def test_no_margin_is_larger_than_that_of_the_nearest_point(norm, off, name):
    """In linf the boundary has corners, which segments cut by less than a cell."""
    data = narrow_corridor(40, seed=0) if name == "corridor" else slabs(60, (1, 5), seed=1)
    points, labels = data.batch(slice(None))
    gaps = nearest_other_class(points, labels, norm=norm).distance
    found = margins(nearest_point_classifier(data, norm=norm), points, labels, norm=norm)
    assert (found >= gaps / 2 - off).all()
    assert smallest_ratio(found, gaps) == pytest.approx(1, abs=100 * off)
    assert efficiency(found, gaps) == pytest.approx(1, abs=off)


def two_points():
    images = torch.tensor([[0.4, 0.5], [0.6, 0.5]])
    return Data(images, torch.tensor([0, 1]), classes=("lower", "upper"), name="pair")


def line(points):
    """Class 1 where the first coordinate is above 0.5."""
    above = 5 * (points[:, 0] - 0.5)
    return torch.stack([-above, above], 1)


def test_pgd_crosses_and_udp_ends_near_the_boundary():
    how = {"threat": Threat("linf", 0.3), "steps": 10, "step_size": 0.03}
    lower, upper, udp = shown_attacks(line, two_points(), **how)
    assert lower.moved[0, 0].item() == pytest.approx(0.7)
    assert upper.moved[0, 0].item() == pytest.approx(0.3)
    assert lower.right.value == upper.right.value == 0
    assert (udp.moved[:, 0] - 0.5).abs().max() <= 0.03 + 1e-6
    assert [one.title for one in (lower, udp)] == ["PGD, 10 steps, lower", "UDP, 10 steps"]
    # What is drawn behind: the loss of the class, and the entropy, which peaks on the boundary.
    assert lower.heights[0, -1] > lower.heights[0, 0]
    assert upper.heights[0, -1] < upper.heights[0, 0]
    assert udp.heights[0].argmax() in (99, 100)
    one_step = shown_attacks(line, two_points(), **how | {"steps": 1})[2]
    assert one_step.title == "UDP, 1 step"
    assert one_step.moved[:, 0].tolist() == pytest.approx([0.43, 0.57])


def test_ways_are_drawn_from_the_points_to_where_they_went():
    how = {"threat": Threat("linf", 0.3), "steps": 10, "step_size": 0.03}
    panels = shown_attacks(line, two_points(), **how)
    axes = attacked_grid(panels).axes
    (ways,) = [one for one in axes[0].collections if isinstance(one, LineCollection)]
    (way,) = ways.get_segments()
    np.testing.assert_allclose(way[:, 0], [(0.4 - 0.5) / UNIT, (0.7 - 0.5) / UNIT], atol=1e-6)
    assert axes[0].get_xlabel() == "over the loss of lower; 0.0 % right after"
    with pytest.raises(ValueError, match="at least one panel"):
        attacked_grid([])


def test_a_net_without_a_boundary_has_no_margins():
    infinite = torch.tensor([torch.inf, -torch.inf], dtype=torch.float64)
    row = ToyResult("toy", "pgd", 0.5, 0, 0.5, -np.inf, -np.inf, 0.0)
    found = _measured([Panel(row, two_points(), "l2", infinite, torch.ones(2, 2))])
    assert [(entry.row, entry.figure, entry.ours) for entry in found] == [
        ("pgd 0.5", "accuracy", 0.5)
    ]
