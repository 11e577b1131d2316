"""Limits over risk: estimated lines with bands, classifiers as points, published lines behind."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from surefoot.papers.experiment import Bands
from surefoot.report import style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

LINES = (style.ESTIMATED, "#009E73", "#E69F00", "#56B4E9")
POINTS = ("#D55E00", "#0072B2", "#3A3A3A", "#CC79A7", "#009E73")
MARKS = ("o", "s", "^", "D", "v")


def bands_and_points(picture: Bands) -> "matplotlib.figure.Figure":
    """Draw estimates dotted, published lines faint, classifiers as points, and say what they are.

    Open marks on a line: held-out points did not confirm the demanded risk or label uncertainty.
    """
    figure = style.new_figure(7.2, 5.0)
    ax = figure.add_subplot()
    reach = _reach(picture)
    for name, (intercept, slope, end) in picture.fits.items():
        ends = np.array([0.0, min(reach, end)])
        color = style.QUIET
        ax.plot(ends, intercept + slope * ends, "-", color=color, linewidth=0.9, alpha=0.55)
        ax.annotate(
            name,
            (ends[1], intercept + slope * ends[1]),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=color,
            va="center",
        )
    for place, (name, frame) in enumerate(picture.lines.groupby("row", sort=False)):
        _line(ax, str(name), frame, LINES[place % len(LINES)])
    for place, (name, frame) in enumerate(picture.points.groupby("row", sort=False)):
        _points(ax, str(name), frame, place)
    _finish(picture, ax, reach)
    if picture.note:
        style.caption(figure, picture.note)
    return figure


def _reach(picture: Bands) -> float:
    shown = [frame["x"].max() for frame in (picture.lines, picture.points) if len(frame)]
    return float(1.05 * max([*shown, 0.01]))


def _line(ax: "matplotlib.axes.Axes", name: str, frame: pd.DataFrame, color: str) -> None:
    frame = frame.sort_values("x")
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    ax.fill_between(x, frame["low"], frame["high"], color=color, alpha=0.15, linewidth=0)
    ax.plot(x, y, ":", color=color, linewidth=1.8, label=name)
    firm = frame["confirmed"].to_numpy(dtype=float) >= 0.5
    ax.plot(x[firm], y[firm], "o", color=color, markersize=4)
    ax.plot(x[~firm], y[~firm], "o", mfc="white", color=color, markersize=5)


def _points(ax: "matplotlib.axes.Axes", name: str, frame: pd.DataFrame, place: int) -> None:
    color, mark = POINTS[place % len(POINTS)], MARKS[place % len(MARKS)]
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    if "low" in frame:
        known = frame["low"].notna().to_numpy()
        low, high = (frame[end].to_numpy(dtype=float) for end in ("low", "high"))
        ends = np.stack([y - low, high - y])[:, known]
        ax.errorbar(x[known], y[known], yerr=ends, fmt="none", color=color, alpha=0.35)
    ax.plot(x, y, mark, color=color, markersize=4.5, alpha=0.85, label=f"{name} ({len(frame)})")


def _finish(picture: Bands, ax: "matplotlib.axes.Axes", reach: float) -> None:
    from matplotlib.ticker import PercentFormatter, ScalarFormatter

    style.tidy(ax)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if not picture.percent:
        ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.set_xlim(0, reach)
    style.title(ax, picture.title)
    ax.set_xlabel(picture.across, fontsize=9)
    ax.set_ylabel(picture.up, fontsize=9)
    open_ = len(picture.lines) and bool((picture.lines["confirmed"] < 0.5).any())
    style.legend_below(ax, "open marks: not confirmed on held-out points" if open_ else "")
