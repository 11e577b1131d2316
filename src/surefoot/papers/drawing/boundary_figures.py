"""Classifiers in the plane, side by side: their boundaries, and where their prediction changed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.data.toys import UNIT
from surefoot.papers.toys.suite import Panel
from surefoot.report import style
from surefoot.version import __version__
from surefoot.wording import NORM_SIGNS, percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

CLASSES = ("#56B4E9", "#E69F00")
AROUND = 0.35
"""Shown outside the outermost points, in units of the paper."""
MOST_COLUMNS = 4


def boundary_grid(panels: Sequence[Panel], *, columns: int = 0) -> "matplotlib.figure.Figure":
    """Draw boundary, points and tightest margin of each net.

    The background is the class, paler where the net is less certain. The outline around one
    point is the ball of the smallest margin; where points are wrong, crosses mark them instead.

    Args:
        panels: of `papers.toys.suite.panels`; the window is that of the first.
        columns: of the grid; 0 fills rows evenly.
    """
    figure, grid = _grid(panels, columns)
    for ax, panel in zip(grid, panels, strict=False):
        _regions(ax, panel)
        _points(ax, panel, 9.0)
        _tightest(ax, panel)
        _frame(ax, panel)
        row = panel.row
        shown = f"{percent(row.accuracy)} right, ratio {row.ratio:.2f}, ME {row.efficiency:.3f}"
        ax.set_xlabel(shown, fontsize=8, color=style.QUIET)
    _sign(figure, panels)
    return figure


def oscillation_grid(panels: Sequence[Panel]) -> "matplotlib.figure.Figure":
    """Draw how often the prediction changed at each place while the nets were trained.

    Args:
        panels: of `papers.toys.suite.panels`.
    """
    figure, grid = _grid(panels)
    counts = [panel.changes for panel in panels if panel.changes is not None]
    if panels and not counts:
        raise ValueError("no panel counted changes: train with `changes_on` above 0")
    # One place may flip at every update; the scale must still show the rest.
    most = max(float(np.quantile(count.numpy(), 0.995)) for count in counts)
    drawn: Any = None
    for ax, panel in zip(grid, panels, strict=False):
        if panel.changes is not None:
            drawn = _map(ax, panel.changes.numpy(), cmap="magma", vmin=0, vmax=max(most, 1.0))
            ax.set_xlabel(
                f"{panel.changes.double().mean():.2f} a place, most {int(panel.changes.max())}",
                fontsize=8,
                color=style.QUIET,
            )
        _points(ax, panel, 2.0)
        _frame(ax, panel)
    bar = figure.colorbar(drawn, ax=grid, shrink=0.85, aspect=18, pad=0.01, extend="max")
    bar.set_label("changes of the prediction", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    _sign(figure, panels)
    return figure


def _grid(
    panels: Sequence[Panel], columns: int = 0
) -> "tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]":
    if not panels:
        raise ValueError("expected at least one panel; found none")
    rows = -(-len(panels) // (columns or MOST_COLUMNS))
    columns = columns or -(-len(panels) // rows)
    left, right, low, high = _window(panels[0])
    width = 2.9
    figure = style.new_figure(
        width * columns + 0.3, rows * (width * (high - low) / (right - left) + 0.65) + 0.2
    )
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in grid[len(panels) :]:
        ax.axis("off")
    return figure, grid


def _window(panel: Panel) -> tuple[float, float, float, float]:
    points = _in_units(panel)
    (left, low), (right, high) = points.min(0) - AROUND, points.max(0) + AROUND
    return float(left), float(right), float(low), float(high)


def _in_units(panel: Panel) -> np.ndarray:
    return (panel.data.images.numpy() - 0.5) / UNIT


def _map(ax: "matplotlib.axes.Axes", values: np.ndarray, **marked: Any) -> Any:
    # The outermost centres lie on the rim of the box: half a cell sticks out.
    edge = 0.5 / UNIT * (1 + 1 / (len(values) - 1))
    return ax.imshow(values, origin="lower", extent=(-edge, edge, -edge, edge), **marked)


def _regions(ax: "matplotlib.axes.Axes", panel: Panel) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("classes", [CLASSES[0], "#FFFFFF", CLASSES[1]])
    values = panel.logit_margins.numpy()
    _map(ax, np.tanh(values / 4), cmap=shades, vmin=-1.6, vmax=1.6, interpolation="bilinear")
    line = np.linspace(-0.5 / UNIT, 0.5 / UNIT, len(values))
    if values.min() < 0 < values.max():
        ax.contour(line, line, values, levels=[0.0], colors=["#222222"], linewidths=1.2)


def _points(ax: "matplotlib.axes.Axes", panel: Panel, size: float) -> None:
    points, labels = _in_units(panel), panel.data.labels.numpy()
    for label, color in enumerate(CLASSES):
        own = points[labels == label]
        ax.scatter(*own.T, s=size, color=color, edgecolors="#333333", linewidths=0.3, zorder=3)


def _tightest(ax: "matplotlib.axes.Axes", panel: Panel) -> None:
    """Mark the wrong points, and the ball around the point of least margin."""
    from matplotlib.patches import Circle, Rectangle

    points, margins = _in_units(panel), panel.margins.numpy()
    wrong = points[margins < 0]
    ax.scatter(*wrong.T, s=22, marker="x", color=style.WRONG, linewidths=1.1, zorder=4)
    least = int(margins.argmin())
    (x, y), reach = points[least], abs(float(margins[least])) / UNIT
    if len(wrong) or not np.isfinite(reach):
        return
    marked: dict[str, Any] = {
        "fill": False,
        "edgecolor": style.WRONG,
        "linewidth": 1.4,
        "zorder": 5,
    }
    ball = (
        Circle((x, y), reach, **marked)
        if panel.norm == "l2"
        else Rectangle((x - reach, y - reach), 2 * reach, 2 * reach, **marked)
    )
    ax.add_patch(ball)


def _frame(ax: "matplotlib.axes.Axes", panel: Panel) -> None:
    left, right, low, high = _window(panel)
    row = panel.row
    style.title(ax, f"{row.method}, eps {row.eps:g}" if row.eps else row.method)
    ax.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[])
    ax.spines[:].set_color("#CCCCCC")


def _sign(figure: "matplotlib.figure.Figure", panels: Sequence[Panel]) -> None:
    row = panels[0].row
    text = (
        f"{row.toy}, seed {row.seed}, {NORM_SIGNS[panels[0].norm]}, lengths in units of the paper"
    )
    style.caption(figure, f"{text}; surefoot {__version__}")
