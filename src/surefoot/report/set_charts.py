"""Figures of certified sets: curves of each k, what they are made of, which classes meet."""

from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.evaluation.certified_sets import (
    alternatives,
    certified_set,
    class_matrix,
    composition,
    label_inside,
    label_matrix,
    radius_curves,
)
from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.report.steps import extent
from surefoot.report.words import class_name

if TYPE_CHECKING:
    import matplotlib.axes

POINTS = 121
"""Radii at which the curves are evaluated, from 0 to a little more than the largest tested one."""
MOST_NAMED = 20
"""More outcomes than this are drawn without their names."""
MOST_WRITTEN = 12
"""More outcomes than this are drawn without figures in the cells."""
SHADES = ("#08306B", "#2171B5", "#6BAED6", "#A6CEE3", "#C6DBEF", "#DEEBF7")
WRONG, REJECTED = "#D55E00", style.UNKNOWN


def set_curves(record: Record, ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw for each k the fraction of examples whose top-k set is certified and holds the label.

    The thick line holds for some k (relaxed VRA); see `set_composition` for its price.

    Args:
        record: set-valued, with a certificate.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax, radii = _over_radius(record, ax)
    _curves(record, radii, ax)
    return ax


def set_composition(
    record: Record, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.axes.Axes":
    """Part the examples by the smallest certified set: its size, and whether it holds the label.

    Args:
        record: set-valued, with a certificate.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax, radii = _over_radius(record, ax)
    _parts(record, radii, ax)
    return ax


def class_pairs(record: Record, ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw for each two classes their fraction of the certified sets of two or more, at eps.

    Args:
        record: set-valued, with a certificate.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax = style.own_axes([record], 4.8, 5.0) if ax is None else ax
    several = f"together in {several_count(record, record.header.eps)} certified sets of 2 or more"
    _matrix(together(record, record.header.eps), record, ax, several, "class")
    return ax


def class_sets(record: Record, ax: "matplotlib.axes.Axes | None" = None) -> "matplotlib.axes.Axes":
    """Draw for each label the fraction of its examples whose certified set holds a class, at eps.

    The diagonal is the strict VRA of the class.

    Args:
        record: set-valued, with a certificate.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax = style.own_axes([record], 4.8, 5.0) if ax is None else ax
    at = f"certified at {record.header.eps_text()}, by true label"
    _matrix(label_matrix(record, record.header.eps), record, ax, at, "true label")
    return ax


def _over_radius(
    record: Record, ax: "matplotlib.axes.Axes | None"
) -> "tuple[matplotlib.axes.Axes, np.ndarray]":
    """Return axes of fractions over the radius, and the radii."""
    ax = style.own_axes([record], 4.8, 4.5) if ax is None else ax
    radii = np.linspace(0, extent([record]), POINTS)
    ax.axvline(record.header.eps, color="#777777", linewidth=0.8)
    ax.set(xlim=(0, radii[-1]), ylim=(0, 1))
    ax.set_xlabel(f"radius ({record.header.unit()})", fontsize=9)
    return ax, radii


def together(record: Record, radius: float) -> np.ndarray:
    """Return for each pair its fraction of the certified sets of two or more, else NaN."""
    fractions = class_matrix(record, radius) / max(several_count(record, radius), 1)
    np.fill_diagonal(fractions, np.nan)
    return fractions


def several_count(record: Record, radius: float) -> int:
    """Count the examples whose smallest certified set has two members or more."""
    return int((certified_set(alternatives(record), radius).sum(1) > 1).sum())


def _curves(record: Record, radii: np.ndarray, ax: "matplotlib.axes.Axes") -> None:
    frame = radius_curves(record, radii)
    for place, (size, curve) in enumerate(frame.groupby("size")):
        color = SHADES[min(place, len(SHADES) - 1)]
        ax.plot(radii, curve["value"], color=color, linewidth=1.3, label=f"k = {size}")
        ax.fill_between(radii, curve["low"], curve["high"], color=color, alpha=0.1, linewidth=0)
    some = certified_right_at(record, radii)
    ax.plot(radii, some, color="#111111", linewidth=2.2, linestyle=(0, (5, 1)), label="some k")
    style.tidy(ax)
    style.title(ax, "certified, and the label is in the set")
    ax.set_ylabel("fraction of the test set", fontsize=9)
    style.legend_below(ax, "top-k set")


def certified_right_at(record: Record, radii: np.ndarray) -> np.ndarray:
    """Return the relaxed VRA at each radius."""
    return np.array([label_inside(record, radius, "largest").mean() for radius in radii.tolist()])


def _parts(record: Record, radii: np.ndarray, ax: "matplotlib.axes.Axes") -> None:
    frame = composition(record, radii)
    names = list(frame.columns[1:])
    sizes = names[:-2]
    colors = [SHADES[min(place, len(SHADES) - 1)] for place in range(len(sizes))]
    labels = [f"right, set of {size}" for size in sizes] + ["wrong set", "rejected"]
    ax.stackplot(
        radii,
        frame[names].to_numpy().T,
        colors=[*colors, WRONG, REJECTED],
        labels=labels,
        linewidth=0,
    )
    style.tidy(ax)
    style.title(ax, "the smallest certified set")
    style.legend_below(ax, "all examples")


def _matrix(
    fractions: np.ndarray, record: Record, ax: "matplotlib.axes.Axes", title: str, down: str
) -> None:
    look: dict[str, Any] = {
        "cmap": "Blues",
        "vmin": 0,
        "vmax": max(float(_largest(fractions)), 0.01),
    }
    ax.imshow(fractions, **look)
    ax.set_facecolor("#F4F4F4")
    rows, columns = fractions.shape
    style.title(ax, title)
    ax.set_ylabel(down, fontsize=9)
    ax.set_xlabel("class in the set", fontsize=9)
    ax.spines[:].set_visible(False)
    if max(rows, columns) > MOST_NAMED:
        return
    names = [
        style.short(class_name(record.header, place), 12) for place in range(max(rows, columns))
    ]
    ax.set_xticks(range(columns), names[:columns], rotation=60, ha="right", fontsize=7.5)
    ax.set_yticks(range(rows), names[:rows], fontsize=7.5)
    ax.tick_params(length=0)
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set_parse_math(False)
    if max(rows, columns) <= MOST_WRITTEN:
        _write(fractions, look["vmax"], ax)


def _write(fractions: np.ndarray, most: float, ax: "matplotlib.axes.Axes") -> None:
    """Write the percents of the cells that are not empty."""
    for row, column in np.argwhere(np.nan_to_num(fractions) >= 0.005).tolist():
        value = fractions[row, column]
        color = "white" if value > 0.6 * most else "#222222"
        ax.text(
            column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=color
        )


def _largest(fractions: np.ndarray) -> float:
    return float(np.nan_to_num(fractions).max())
