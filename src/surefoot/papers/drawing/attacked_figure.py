"""Points of toys and where attacks took them, over the height that was climbed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.data.toys import UNIT
from surefoot.papers.attacked_points import AttackedPanel
from surefoot.papers.drawing.boundary_figures import AROUND, CLASSES
from surefoot.report import style
from surefoot.version import __version__
from surefoot.wording import percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def attacked_grid(
    panels: Sequence[AttackedPanel], *, columns: int = 3
) -> "matplotlib.figure.Figure":
    """Draw for each panel the points, a line from each to where it went, and a cross there.

    The background is what was climbed, dark where it is high, each panel on its own scale. The
    window is that of all points and crosses, inside the box.

    Args:
        panels: of `papers.attacked_points`.
        columns: of the grid.
    """
    if not panels:
        raise ValueError("expected at least one panel; found none")
    left, right, low, high = _window(panels)
    rows, width = -(-len(panels) // columns), 9.9 / columns
    height = width * (high - low) / (right - left) + 0.75
    figure = style.new_figure(width * columns, rows * height + 0.2)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in grid[len(panels) :]:
        ax.axis("off")
    for ax, panel in zip(grid, panels, strict=False):
        _draw(ax, panel)
        ax.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[])
        ax.spines[:].set_color("#CCCCCC")
    text = f"{panels[0].data.name}, lengths in units of the paper; crosses: after the attack"
    style.caption(figure, f"{text}; surefoot {__version__}")
    return figure


def _in_units(images: np.ndarray) -> np.ndarray:
    return (images - 0.5) / UNIT


def _window(panels: Sequence[AttackedPanel]) -> tuple[float, float, float, float]:
    points = [_in_units(part.numpy()) for one in panels for part in (one.data.images, one.moved)]
    every, edge = np.concatenate(points), 0.5 / UNIT
    left, low = np.maximum(every.min(0) - AROUND, -edge).tolist()
    right, high = np.minimum(every.max(0) + AROUND, edge).tolist()
    return left, right, low, high


def _draw(ax: "matplotlib.axes.Axes", panel: AttackedPanel) -> None:
    from matplotlib.collections import LineCollection

    heights = panel.heights.numpy()
    edge = 0.5 / UNIT * (1 + 1 / (len(heights) - 1))
    most = float(np.quantile(heights, 0.98))  # a loss has no largest value
    where: dict[str, Any] = {"extent": (-edge, edge, -edge, edge), "origin": "lower"}
    ax.imshow(heights, cmap="Greys", vmin=0, vmax=max(1.4 * most, 1e-6), **where)
    before, after = _in_units(panel.data.images.numpy()), _in_units(panel.moved.numpy())
    colors = [CLASSES[label] for label in panel.data.labels.tolist()]
    ways = np.stack([before, after], 1)
    ax.add_collection(LineCollection(list(ways), colors=colors, linewidths=0.6, alpha=0.8))
    marked: dict[str, Any] = {"c": colors, "zorder": 3}
    ax.scatter(*before.T, s=9, edgecolors="#333333", linewidths=0.3, **marked)
    ax.scatter(*after.T, s=12, marker="x", linewidths=0.8, **marked)
    style.title(ax, panel.title)
    shown = f"over the {panel.meaning}; {percent(panel.right.value)} right after"
    ax.set_xlabel(shown, fontsize=8, color=style.QUIET)
