"""The histogram of distances to the nearest point of another class (Figure 2 of UDP)."""

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

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
BINS = 80


def distance_histogram(
    distances: Mapping[str, Tensor],
    *,
    norm: Norm,
    marks: Sequence[float] = (),
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.axes.Axes":
    """Draw how many points have their nearest point of another class how far away.

    Args:
        distances: name of a data set -> distances (`limits.nearest_other_class`).
        norm: of the distances.
        marks: radii eps; a line stands at 2 eps, below which balls of other labels meet.
        ax: draw here; None makes a figure (`ax.figure`).
    """
    if ax is None:
        figure = style.new_figure(6.4, 4.2)
        ax = figure.add_subplot()
        style.caption(figure, f"exact nearest neighbours of other labels; surefoot {__version__}")
    values = {name: found.double().numpy() for name, found in distances.items()}
    edges = np.linspace(0, max(float(found.max()) for found in values.values()), BINS + 1)
    for (name, found), color in zip(values.items(), COLORS, strict=False):
        counts, _ = np.histogram(found, edges)
        label = (
            f"{name} (n = {len(found):,}): least {found.min():.3g}, median {np.median(found):.3g}"
        )
        ax.stairs(counts / len(found), edges, fill=True, color=color, alpha=0.35)
        ax.stairs(counts / len(found), edges, color=color, linewidth=1.2, label=label)
    for mark in marks:
        met = ", ".join(percent(float((found < 2 * mark).mean())) for found in values.values())
        ax.axvline(2 * mark, color=style.QUIET, linestyle=(0, (1, 2)), linewidth=1.2)
        ax.plot(
            [],
            [],
            color=style.QUIET,
            linestyle=(0, (1, 2)),
            label=f"2 eps at eps {mark:g}; nearer: {met}",
        )
    style.tidy(ax)
    ax.set(xlim=(0, edges[-1]), ylim=(0, None))
    ax.set_xlabel(f"{NORM_SIGNS[norm]} distance to the nearest point of another class", fontsize=9)
    ax.set_ylabel("fraction of the points", fontsize=9)
    style.legend_below(ax, "data set, and points nearer than 2 eps")
    return ax
