"""Figures of lines: a line a row, fractions stacked, and estimates with bands among points."""

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from surefoot.report import style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

PARTS = {
    "certified": style.CERTIFIED,
    "accepted": "#9CC7E3",
    "rejected": style.UNKNOWN,
    "wrong": style.ATTACKED,
}
"""Of stacked fractions: what certified, attacked and unknown mean elsewhere."""
COLORS = ("#3A3A3A", "#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#8C3B73")
LINES = (style.ESTIMATED, "#009E73", "#E69F00", "#56B4E9")
POINTS = ("#D55E00", "#0072B2", "#3A3A3A", "#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#8C3B73")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "p")
WRAPPED = 30
"""Letters in a line of the name of a category."""
WIDEST = 2.0
"""Points behind so many times the end of all lines are marked at the edge."""
THEOREM = "theorem"
"""Row of what a theorem predicts."""


def frame_of(lines: Iterable[tuple[str, Any, Any]]) -> pd.DataFrame:
    """Return the columns `row`, `x`, `y` of lines, each a name, its x and its y."""
    frames = [pd.DataFrame({"row": name, "x": x, "y": y}) for name, x, y in lines]
    return pd.concat(frames, ignore_index=True)


def curves(
    frame: pd.DataFrame, title: str, across: str, up: str, *, percent: bool = True
) -> "matplotlib.figure.Figure":
    """Draw one line a row, attacked ones dashed, intervals as bars, published values as circles.

    Args:
        frame: columns `row`, `x`, `y`, and where known `low`, `high`, `published`.
        title: of the figure.
        across: label of the horizontal axis.
        up: label of the vertical axis.
        percent: the vertical axis shows fractions.
    """
    figure = style.new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    for place, (name, lines) in enumerate(frame.groupby("row", sort=False)):
        color = COLORS[place % len(COLORS)]
        line = "o--" if str(name).startswith("attacked") else "o-"
        ax.plot(lines["x"], lines["y"], line, color=color, label=str(name), markersize=4)
        if "low" in lines:
            _bars(ax, lines, color)
        if "published" in lines and lines["published"].notna().any():
            ax.plot(lines["x"], lines["published"], "o", mfc="none", color=color, markersize=8)
    published = "published" in frame and frame["published"].notna().any()
    _finish(ax, title, across, up, percent, "open circles: published" if published else "")
    return figure


def categories(frame: pd.DataFrame, title: str, across: str) -> "matplotlib.figure.Figure":
    """Draw one figure a category, named at the left, with its interval and the published figure.

    Args:
        frame: columns `x` (the category), `y`, `low`, `high`, and where known `published`.
        title: of the figure.
        across: label of the horizontal axis, of fractions.
    """
    from matplotlib.ticker import FixedFormatter, PercentFormatter

    figure = style.new_figure(7.2, 1.4 + 0.28 * len(frame))
    ax = figure.add_subplot()
    height, names = np.arange(len(frame)), [fill(str(name), WRAPPED) for name in frame["x"]]
    low, y, high = (frame[name].to_numpy(dtype=float) for name in ("low", "y", "high"))
    ends = [y - low, high - y]
    ours = {"fmt": "o", "color": style.ESTIMATED, "markersize": 4, "label": "ours, 95 %"}
    ax.errorbar(y, height, xerr=ends, **ours)
    if "published" in frame and frame["published"].notna().any():
        mark = {"mfc": "none", "color": style.CLEAN, "markersize": 8, "label": "published"}
        ax.plot(frame["published"].astype(float), height, "o", **mark)
    ax.set_yticks(height, labels=names)
    ax.invert_yaxis()
    style.tidy(ax)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.yaxis.set_major_formatter(FixedFormatter(names))
    ax.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    ax.set_xlim(left=0)
    style.title(ax, title)
    ax.set_xlabel(across, fontsize=9)
    style.legend_below(ax, "", drop=-0.17 - 0.9 / (1 + len(frame)))
    return figure


def curve_panels(
    frame: pd.DataFrame, title: str, across: str, up: str, *, percent: bool = True
) -> "matplotlib.figure.Figure":
    """Draw panels side by side, one line a row in each: the same row has the same colour in all.

    Intervals are bars; the row "theorem" is dotted, on top of the others.

    Args:
        frame: columns `panel`, `row`, `x`, `y`, and where known `low`, `high`.
        title: of the figure.
        across: label of the horizontal axes.
        up: label of the vertical axis.
        percent: the vertical axis shows fractions.
    """
    from matplotlib.ticker import ScalarFormatter

    panels = frame.groupby("panel", sort=False)
    figure = style.new_figure(max(3.2 * len(panels), 6.0), 3.9)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    rows = [name for name in frame["row"].unique() if name != THEOREM]
    colors = {name: COLORS[place % len(COLORS)] for place, name in enumerate(rows)}
    for ax, (name, panel) in zip(axes, panels, strict=True):
        for row, lines in panel.groupby("row", sort=False):
            if row == THEOREM:
                ax.plot(lines["x"], lines["y"], ":", color="black", linewidth=2, zorder=4)
                continue
            ax.plot(lines["x"], lines["y"], "o-", color=colors[row], markersize=3)
            if "low" in lines:
                _bars(ax, lines, colors[row])
        style.tidy(ax)
        if not percent:
            ax.yaxis.set_major_formatter(ScalarFormatter())
        style.title(ax, str(name))
        ax.set_xlabel(across, fontsize=9)
    axes[0].set_ylabel(up, fontsize=9)
    for row in frame["row"].unique():
        line = {"linestyle": ":", "color": "black"} if row == THEOREM else {"color": colors[row]}
        axes[0].plot([], [], **line, label=str(row))
    # Not below: there stands the caption.
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
    figure.suptitle(title, x=0.012, ha="left", fontsize=10.5)
    return figure


def stacked(frame: pd.DataFrame, title: str, across: str) -> "matplotlib.figure.Figure":
    """Draw fractions that add up to 1 on top of each other, named beside their colours.

    Args:
        frame: the column `x`, then a column a part, from the bottom up.
        title: of the figure.
        across: label of the horizontal axis.
    """
    figure = style.new_figure(7.2, 4.4)
    ax = figure.add_subplot()
    parts = [name for name in frame.columns if name != "x"]
    colors = [PARTS.get(name, COLORS[place]) for place, name in enumerate(parts)]
    fractions = [frame[name] for name in parts]
    ax.stackplot(frame["x"], fractions, labels=parts, colors=colors, linewidth=0)
    ax.set_ylim(0, 1)
    ax.margins(x=0)
    _finish(ax, title, across, "fraction of the images")
    return figure


def bands_and_points(
    lines: pd.DataFrame,
    points: pd.DataFrame,
    title: str,
    across: str,
    up: str,
    *,
    fits: Mapping[str, tuple[float, float, float]] | None = None,
    note: str = "",
    percent: bool = True,
) -> "matplotlib.figure.Figure":
    """Draw estimates dotted, published lines faint, classifiers as points.

    Open marks on a line: held-out points did not confirm the demanded risk or label uncertainty.

    Args:
        lines: columns `row`, `x`, `y`, `low`, `high`, `confirmed`.
        points: columns `row` (their kind), `x`, `y`, and where known `low`, `high`, `confirmed`
            (else they are) and `text`, written beside them. Points far behind all lines are marked
            at the edge, so that they do not squeeze the rest.
        title: of the figure.
        across: label of the horizontal axis, of fractions.
        up: label of the vertical axis.
        fits: name -> intercept and slope of a published line, and where what it fits ends.
        note: small print: what kind of metric the points are.
        percent: the vertical axis shows fractions.
    """
    from matplotlib.ticker import PercentFormatter

    figure = style.new_figure(7.2, 5.0)
    ax = figure.add_subplot()
    right = _right(lines, points, fits or {})
    far = points[points["x"] > right]
    points = points[points["x"] <= right]
    for name, (intercept, slope, end) in (fits or {}).items():
        _published_line(ax, name, intercept, slope, min(right, end))
    for place, (name, frame) in enumerate(lines.groupby("row", sort=False)):
        _line(ax, str(name), frame, LINES[place % len(LINES)])
    for place, (name, frame) in enumerate(points.groupby("row", sort=False)):
        _points(ax, str(name), frame, place)
    ax.set_xlim(0, right)
    _outside(ax, far, right)
    unconfirmed = any(
        "confirmed" in frame and bool((frame["confirmed"] < 0.5).any()) for frame in (lines, points)
    )
    heading = "open marks: not confirmed on held-out points" if unconfirmed else ""
    _finish(ax, title, across, up, percent, heading)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if note:
        style.caption(figure, note)
    return figure


def _right(
    lines: pd.DataFrame,
    points: pd.DataFrame,
    fits: Mapping[str, tuple[float, float, float]],
) -> float:
    """Return where the axis ends: no single point may squeeze curves and published lines."""
    drawn = [end for _, _, end in fits.values() if end < 1]
    drawn += [float(lines["x"].max())] if len(lines) else []
    ends = points["x"].to_numpy(dtype=float)
    if drawn:
        ends = ends[ends <= WIDEST * max(drawn)]
    return 1.05 * max([*drawn, *ends, 0.01])


def _outside(ax: "matplotlib.axes.Axes", far: pd.DataFrame, right: float) -> None:
    """Mark points behind the end of the axis at its edge, with their place."""
    for _, one in far.iterrows():
        ax.plot(right, one["y"], ">", color=style.QUIET, clip_on=False, markersize=5)
        ax.annotate(
            f"{one['row']}: {100 * one['x']:.1f} %, {100 * one['y']:.1f} %",
            (right, one["y"]),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=style.QUIET,
        )


def _published_line(
    ax: "matplotlib.axes.Axes", name: str, intercept: float, slope: float, end: float
) -> None:
    ends = np.array([0.0, end])
    heights = intercept + slope * ends
    ax.plot(ends, heights, "-", color=style.QUIET, linewidth=0.9, alpha=0.55)
    ax.annotate(
        name,
        (ends[1], heights[1]),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=7.5,
        color=style.QUIET,
        va="center",
    )


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
    if "low" in frame:
        _bars(ax, frame[frame["low"].notna()], color)
    label = fill(f"{name} ({len(frame)})", 40)
    firm = frame["confirmed"] >= 0.5 if "confirmed" in frame else frame["x"].notna()
    shape = {"color": color, "markersize": 4.5, "alpha": 0.85, "linestyle": "none", "marker": mark}
    ax.plot(frame["x"][firm], frame["y"][firm], **shape, label=label if firm.any() else None)
    open_label = None if firm.any() else label
    ax.plot(frame["x"][~firm], frame["y"][~firm], **shape, mfc="white", label=open_label)
    for _, one in frame.iterrows() if "text" in frame else ():
        place_of = (one["x"], one["y"])
        ax.annotate(one["text"], place_of, xytext=(4, 4), textcoords="offset points", fontsize=6.5)


def _bars(ax: "matplotlib.axes.Axes", frame: pd.DataFrame, color: str) -> None:
    """Draw the intervals of lines or points."""
    low, y, high = (frame[name].to_numpy(dtype=float) for name in ("low", "y", "high"))
    ends = [y - low, high - y]
    ax.errorbar(frame["x"], frame["y"], yerr=ends, fmt="none", color=color, alpha=0.35)


def _finish(
    ax: "matplotlib.axes.Axes",
    title: str,
    across: str,
    up: str,
    percent: bool = True,
    heading: str = "",
) -> None:
    """Name the axes, format the vertical one, and put the legend below."""
    from matplotlib.ticker import ScalarFormatter

    style.tidy(ax)
    if not percent:
        ax.yaxis.set_major_formatter(ScalarFormatter())
    style.title(ax, title)
    ax.set_xlabel(across, fontsize=9)
    ax.set_ylabel(up, fontsize=9)
    style.legend_below(ax, heading)
