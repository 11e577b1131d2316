"""Nets in the plane, side by side: which set is certified where, and where nothing is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from surefoot.papers.certified_regions import CertifiedRegion
from surefoot.report import style
from surefoot.version import __version__
from surefoot.wording import percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

CLASSES = ("#0072B2", "#009E73", "#D55E00", "#E6B800", "#CC79A7", "#56B4E9", "#8C564B", "#3A3A3A")
AROUND = 0.06
"""Shown outside the outermost points, as a fraction of the box."""
HATCH = 14
"""Width in places of the stripes that mark a set of several classes."""


def region_grid(regions: Sequence[CertifiedRegion]) -> "matplotlib.figure.Figure":
    """Draw the certified set at every place: a class in its colour, a set in stripes of several.

    Rejected places are grey; the thin line is where the best class changes.

    Args:
        regions: of `certified_regions.region`; the points of the first give the window.
    """
    if not regions:
        raise ValueError("expected at least one region; found none")
    left, right, low, high = window(regions[0])
    columns = 2 if len(regions) in (2, 4) else min(len(regions), 3)
    rows, width = -(-len(regions) // columns), 9.4 / columns
    height = width * (high - low) / (right - left) + 0.55
    figure = style.new_figure(width * columns, rows * height + 0.3)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in grid[len(regions) :]:
        ax.axis("off")
    for ax, region in zip(grid, regions, strict=False):
        _draw(region, ax)
        ax.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[])
        ax.spines[:].set_color("#CCCCCC")
    eps = f"ℓ₂ radius {regions[0].eps:g}; grey: rejected; stripes: a set of several classes"
    style.caption(figure, f"{regions[0].data.name}, {eps}; surefoot {__version__}")
    return figure


def window(region: CertifiedRegion) -> tuple[float, float, float, float]:
    """Return left, right, low and high of what is shown."""
    points = region.data.images.numpy()
    (left, low), (right, high) = points.min(0) - AROUND, points.max(0) + AROUND
    return float(max(left, 0)), float(min(right, 1)), float(max(low, 0)), float(min(high, 1))


def colours(region: CertifiedRegion) -> np.ndarray:
    """Return the colour of every place, `[side, side, 3]`."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(color) for color in CLASSES])
    sets = region.sets.numpy()
    side, _, classes = sets.shape
    palette = palette[np.arange(classes) % len(palette)]
    rows, columns = np.indices((side, side))
    stripe = (rows + columns) // max(HATCH * side // 400, 1)
    # Of the members of a set, stripes show one after the other.
    rank = sets.cumsum(2) * sets
    turn = stripe % np.maximum(sets.sum(2), 1) + 1
    shown = (rank == turn[:, :, None]).argmax(2)
    pale = 0.45 * palette[shown] + 0.55
    return np.where(sets.any(2, keepdims=True), pale, np.array(to_rgb("#9A9A9A")))


def _draw(region: CertifiedRegion, ax: "matplotlib.axes.Axes") -> None:
    from matplotlib.colors import to_rgb

    ax.imshow(colours(region), origin="lower", extent=(0, 1, 0, 1), interpolation="nearest")
    best = region.best.numpy()
    line = np.linspace(0, 1, len(best))
    for label in range(region.sets.shape[2]):
        if 0 < (best == label).sum() < best.size:
            own = (best == label).astype(float)
            ax.contour(line, line, own, levels=[0.5], colors=["#222222"], linewidths=0.7)
    points, labels = region.data.images.numpy(), region.data.labels.numpy()
    fill = [to_rgb(CLASSES[label % len(CLASSES)]) for label in labels]
    ax.scatter(*points.T, s=9, c=fill, edgecolors="white", linewidths=0.35, zorder=3)
    style.title(ax, region.name)
    ax.set_xlabel(_counts(region), fontsize=8, color=style.QUIET)


def _counts(region: CertifiedRegion) -> str:
    """Describe what happens at the points: rejected, and certified as a set of several."""
    points = region.data.images.numpy()
    side = len(region.best)
    column, row = np.rint(points * (side - 1)).astype(int).T
    sizes = region.sets.numpy()[row, column].sum(1)
    rejected, several = float((sizes == 0).mean()), float((sizes > 1).mean())
    return f"points rejected {percent(rejected)}, in a set of several {percent(several)}"
