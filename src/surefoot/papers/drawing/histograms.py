"""Overlaid histograms: of scores, label uncertainty, and distances to another class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from surefoot.report import style
from surefoot.threat import Norm
from surefoot.version import __version__
from surefoot.wording import NORM_SIGNS, percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
BINS = 40


def overlaid_histograms(
    values: Mapping[str, np.ndarray], title: str, across: str, *, most: float = 1.0
) -> "matplotlib.figure.Figure":
    """Draw one histogram a kind on common bins, each as fractions of its own values.

    Args:
        values: kind -> values in [0, most].
        title: of the figure.
        across: label of the horizontal axis.
        most: right end of the axis.
    """
    figure = style.new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    edges = np.linspace(0, most, BINS + 1)
    labels = {name: f"median {np.median(one):.3g}" for name, one in values.items()}
    _stairs(ax, values, labels, edges)
    style.title(ax, title)
    _finish(ax, across, "fraction of the images", "")
    return figure


def distance_histogram(
    distances: Mapping[str, Tensor], *, norm: Norm, marks: Sequence[float] = ()
) -> "matplotlib.figure.Figure":
    """Draw how many points have their nearest point of another class how far away.

    Args:
        distances: name of a data set -> distances (`limits.nearest_other_class`).
        norm: of the distances.
        marks: radii eps; a line stands at 2 eps, below which balls of other labels meet.
    """
    figure = style.new_figure(6.4, 4.2)
    ax = figure.add_subplot()
    style.caption(figure, f"exact nearest neighbours of other labels; surefoot {__version__}")
    values = {name: found.double().numpy() for name, found in distances.items()}
    edges = np.linspace(0, max(float(found.max()) for found in values.values()), 2 * BINS + 1)
    labels = {
        name: f"least {found.min():.3g}, median {np.median(found):.3g}"
        for name, found in values.items()
    }
    _stairs(ax, values, labels, edges)
    dotted = {"color": style.QUIET, "linestyle": (0, (1, 2))}
    for mark in marks:
        met = ", ".join(percent(float((found < 2 * mark).mean())) for found in values.values())
        ax.axvline(2 * mark, **dotted, linewidth=1.2)
        ax.plot([], [], **dotted, label=f"2 eps at eps {mark:g}; nearer: {met}")
    across = f"{NORM_SIGNS[norm]} distance to the nearest point of another class"
    _finish(ax, across, "fraction of the points", "data set, and points nearer than 2 eps")
    return figure


def _stairs(
    ax: "matplotlib.axes.Axes",
    values: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    edges: np.ndarray,
) -> None:
    for (name, found), color in zip(values.items(), COLORS, strict=False):
        fractions = np.histogram(found, edges)[0] / len(found)
        ax.stairs(fractions, edges, fill=True, color=color, alpha=0.35)
        label = f"{name} (n = {len(found):,}): {labels[name]}"
        ax.stairs(fractions, edges, color=color, linewidth=1.2, label=label)
    style.tidy(ax)
    ax.set(xlim=(0, edges[-1]), ylim=(0, None))


def _finish(ax: "matplotlib.axes.Axes", across: str, up: str, heading: str) -> None:
    ax.set_xlabel(across, fontsize=9)
    ax.set_ylabel(up, fontsize=9)
    style.legend_below(ax, heading)
