"""Overlaid histograms: where the scores of the data lie, and where those of OOD inputs."""

from typing import TYPE_CHECKING

import numpy as np

from surefoot.papers.experiment import Histograms
from surefoot.report import style

if TYPE_CHECKING:
    import matplotlib.figure

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
BINS = 40


def overlaid_histograms(picture: Histograms) -> "matplotlib.figure.Figure":
    """Draw one histogram a kind on common bins, each as fractions of its own values."""
    figure = style.new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    edges = np.linspace(0, picture.most, BINS + 1)
    for (name, values), color in zip(picture.values.items(), COLORS, strict=False):
        fractions = np.histogram(values, edges)[0] / len(values)
        label = f"{name} (n = {len(values):,}): median {np.median(values):.3g}"
        ax.stairs(fractions, edges, fill=True, color=color, alpha=0.35)
        ax.stairs(fractions, edges, color=color, linewidth=1.2, label=label)
    style.tidy(ax)
    ax.set(xlim=(0, picture.most), ylim=(0, None))
    style.title(ax, picture.title)
    ax.set_xlabel(picture.across, fontsize=9)
    ax.set_ylabel("fraction of the images", fontsize=9)
    style.legend_below(ax, "")
    return figure
