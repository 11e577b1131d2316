"""Pictures of toys, distances and long perturbations: what is drawn equals the figures."""

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.patches import Circle, Rectangle

from surefoot import build
from surefoot.data import Data
from surefoot.data.toys import UNIT
from surefoot.papers.drawing.boundary_figures import boundary_grid, oscillation_grid
from surefoot.papers.drawing.histograms import distance_histogram
from surefoot.papers.drawing.perturbation_figure import perturbation_gallery
from surefoot.papers.perturbed_images import Gallery, gallery
from surefoot.papers.toys.suite import Panel, ToyResult
from surefoot.report.style import to_svg


def make_panel(method="udp", norm="l2", margins=(0.05, 0.1, 0.2), changes=True):
    images = torch.tensor([[0.4, 0.5], [0.5, 0.6], [0.7, 0.4]])
    data = Data(images, torch.tensor([0, 1, 1]), classes=("lower", "upper"), name="toy")
    values = torch.tensor(margins, dtype=torch.float64)
    line = torch.linspace(-1, 1, 30)
    row = ToyResult("toy", method, 0.3, 4, (values > 0).double().mean().item(), 0.5, 0.9, 0.1)
    counts = torch.arange(400).view(20, 20) // 100 if changes else None
    return Panel(row, data, norm, values, line.expand(30, 30), counts)


def panel_axes(figure, count):
    return figure.axes[:count]


@pytest.mark.parametrize(("norm", "shape"), [("l2", Circle), ("linf", Rectangle)])
def test_the_tightest_margin_is_drawn_as_its_ball(norm, shape):
    figure = boundary_grid([make_panel(norm=norm)])
    (ball,) = [patch for patch in figure.axes[0].patches if isinstance(patch, shape)]
    reach = 0.05 / UNIT
    width = ball.get_radius() * 2 if isinstance(ball, Circle) else ball.get_width()
    assert width == pytest.approx(2 * reach)
    box = ball.get_extents().transformed(figure.axes[0].transData.inverted())
    middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    assert middle == pytest.approx(((0.4 - 0.5) / UNIT, 0.0), abs=1e-3)


def test_wrong_points_are_crossed_and_no_ball_is_drawn():
    ax = boundary_grid([make_panel(margins=(0.05, -0.1, 0.2))]).axes[0]
    assert not ax.patches
    drawn = [found.get_offsets() for found in ax.collections if isinstance(found, PathCollection)]
    crosses = np.asarray(drawn[-1])
    np.testing.assert_allclose(crosses, [[0.0, 0.1 / UNIT]], atol=1e-6)
    assert "66.7 % right, ratio 0.50, ME 0.900" in ax.get_xlabel()


def test_points_and_window_are_in_units_of_the_paper():
    ax = boundary_grid([make_panel()]).axes[0]
    low, high = ax.get_xlim()
    assert low == pytest.approx(-0.4 - 0.35, abs=1e-6)
    assert high == pytest.approx(0.8 + 0.35, abs=1e-6)
    (upper,) = [
        np.asarray(found.get_offsets())
        for found in ax.collections
        if isinstance(found, PathCollection) and len(np.asarray(found.get_offsets())) == 2
    ]
    np.testing.assert_allclose(upper, [[0, 0.4], [0.8, -0.4]], atol=1e-6)


def test_the_boundary_is_drawn_where_the_lead_vanishes():
    ax = boundary_grid([make_panel()]).axes[0]
    contours = [found for found in ax.collections if not isinstance(found, PathCollection)]
    vertices = np.concatenate([path.vertices for found in contours for path in found.get_paths()])
    np.testing.assert_allclose(vertices[:, 0], 0, atol=1e-6)  # the lead rises along the first axis


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 3), (6, 3), (8, 4)])
def test_rows_are_filled_evenly(count, columns):
    figure = boundary_grid([make_panel(f"m{number}") for number in range(count)])
    spec = figure.axes[0].get_gridspec()
    assert spec.ncols == columns
    titles = [ax.get_title(loc="left") for ax in panel_axes(figure, count)]
    assert titles == [f"m{number}, eps 0.3" for number in range(count)]


def test_changes_are_drawn_as_they_were_counted():
    figure = oscillation_grid([make_panel(), make_panel("pgd", changes=False)])
    (shown,) = figure.axes[0].images
    np.testing.assert_array_equal(
        np.asarray(shown.get_array()), np.arange(400).reshape(20, 20) // 100
    )
    assert figure.axes[0].get_xlabel() == "1.50 a place, most 3"
    assert not figure.axes[1].images
    with pytest.raises(ValueError, match="at least one panel"):
        oscillation_grid([])
    with pytest.raises(ValueError, match="changes_on"):
        oscillation_grid([make_panel(changes=False)])


def test_the_same_panels_give_the_same_bytes():
    assert to_svg(boundary_grid([make_panel()])) == to_svg(boundary_grid([make_panel()]))


def test_histogram_bars_sum_to_all_points(generator):
    distances = {"a": torch.rand(200, generator=generator), "b": torch.tensor([0.2, 0.4, 0.4, 3.0])}
    (ax,) = distance_histogram(distances, norm="l2", marks=(0.2,)).axes
    fills = [found for found in ax.patches if found.get_fill()]
    totals = [np.asarray(found.get_data().values).sum() for found in fills]
    np.testing.assert_allclose(totals, [1, 1])
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "b (n = 4): least 0.2, median 0.4" in words
    below = (distances["a"] < 0.4).double().mean().item()
    assert f"2 eps at eps 0.2; nearer: {100 * below:.1f} %, 25.0 %" in words
    assert ax.get_xlim()[1] == pytest.approx(3.0)


def test_gallery_keeps_the_box_and_the_steps():
    torch.manual_seed(0)
    net = build("mlp", inputs=12, classes=3)
    images = (torch.arange(48) % 250).to(torch.uint8).view(4, 3, 2, 2)
    data = Data(images, torch.tensor([0, 1, 2, 0]), classes=("a", "b", "c"), name="tiny")
    found = gallery(net, data, steps=5, step_size=0.02)
    assert list(found.images) == list(found.probabilities) == ["image", "pgd", "udp"]
    clean = data.batch(slice(None))[0]
    assert torch.equal(found.images["image"], clean)
    for name in ("pgd", "udp"):
        moved = found.images[name]
        assert 0 <= moved.min() <= moved.max() <= 1
        assert (moved - clean).abs().max() <= 0.1 + 1e-6
        assert (moved - clean).abs().max() > 0.09
        torch.testing.assert_close(found.probabilities[name], net(moved).softmax(1).detach())
    label = data.labels.unsqueeze(1)
    own = {name: fraction.gather(1, label) for name, fraction in found.probabilities.items()}
    assert (own["pgd"] < own["image"]).all()
    spread = {
        name: -(fraction * fraction.log()).sum(1) for name, fraction in found.probabilities.items()
    }
    assert (spread["udp"] > spread["image"]).all()
    wide = gallery(net, data, norm="l2", steps=3, step_size=0.05)
    lengths = torch.linalg.vector_norm((wide.images["pgd"] - clean).flatten(1), dim=1)
    assert lengths.max() <= 0.15 + 1e-6
    assert lengths.max() > 0.1


@pytest.mark.parametrize("planes", [1, 3])
def test_gallery_is_drawn_with_the_likeliest_classes(planes, generator):
    fractions = torch.tensor([[0.1, 0.6, 0.25, 0.05], [0.7, 0.1, 0.15, 0.05]])
    images = torch.rand(2, planes, 4, 4, generator=generator)
    data = Data(images, torch.tensor([1, 2]), classes=("a", "b", "c", "d"), name="tiny")
    moved = (images + 0.1).clamp(0, 1)
    found = Gallery(
        data,
        "linf",
        10,
        0.01,
        {"image": images, "pgd": moved},
        {"image": fractions, "pgd": fractions.flip(0)},
    )
    figure = perturbation_gallery(found)
    assert len(figure.axes) == 2 * 5
    words = [text.get_text() for text in figure.axes[1].texts]
    assert words == ["b 60 %", "c 25 %", "a 10 %"]
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert widths == pytest.approx([0.6, 0.25, 0.1])
    colors = [bar.get_facecolor() for bar in figure.axes[1].patches]
    assert colors[0] != colors[1] == colors[2]  # the true class is dark
    assert figure.axes[4].texts[0].get_text() == "a 70 %"
    assert b"svg" in to_svg(figure)[:300]
