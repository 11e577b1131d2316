"""The bracket chart: what is proven, what attacks did not break, and the unknown in between."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from surefoot.evaluation.metrics import clean_accuracy
from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.report.steps import Steps, extent, steps
from surefoot.stats import lower_bound, upper_bound
from surefoot.wording import percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def bracket_chart(
    record: Record, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.axes.Axes":
    """Draw certified, attacked, clean and estimated accuracy, and the ceiling, over the radius.

    Between tested radii the attacked curve keeps the value of the smaller one: what an attack
    breaks there stays broken at every larger radius, so the curve is an upper bound everywhere.

    Args:
        record: of one classifier.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax = style.own_axes([record]) if ax is None else ax
    draw_bracket(record, ax, extent([record]))
    style.legend_below(ax, f"n = {len(record)}; bands and whiskers: 95 % intervals")
    ax.set_ylabel(_share_name(record))
    return ax


def comparison_chart(records: Sequence[Record]) -> "matplotlib.figure.Figure":
    """Draw one small bracket chart a record, on common axes where the norms agree."""
    columns = {1: 1, 2: 2, 4: 2}.get(len(records), 3)
    height = -(-len(records) // columns)
    figure = style.new_figure(4.6 if columns == 1 else 9.2, 2.9 * height + 0.9)
    grid = figure.subplots(height, columns, sharey=True, squeeze=False)
    for ax, record in zip(grid.flat, records, strict=False):
        alike = [other for other in records if other.header.unit() == record.header.unit()]
        draw_bracket(record, ax, extent(alike), f"{record.header.name} (n = {len(record)})")
    for ax in grid.flat[len(records) :]:
        ax.set_visible(False)
    for ax in grid[:, 0]:
        ax.set_ylabel("fraction of the test set", fontsize=9)
    _common_legend(figure, list(grid.flat[: len(records)]))
    style.sign(figure, records)
    return figure


def draw_bracket(
    record: Record, ax: "matplotlib.axes.Axes", largest: float, title: str | None = None
) -> None:
    """Draw the bracket up to the radius `largest`, without legend or signature."""
    curves = steps(record, largest)
    ax.set(xlim=(0, largest), ylim=(0, 1.0))
    _draw_gap(curves, ax)
    _draw_certified(curves, ax)
    _draw_clean(record, ax)
    if record.header.attack:
        _draw_attacked(record, curves, ax)
    _draw_limit(record, ax)
    _draw_ceiling(record, ax)
    _mark_eps(record, ax)
    style.tidy(ax)
    _tick_radii(record, ax)
    ax.set_xlabel(f"radius ({record.header.unit()})", fontsize=9)
    style.title(ax, title or f"{record.header.name}: {record.header.guarantee.name}")
    if curves.certified is not None and bool((curves.certified > curves.attacked).any()):
        _mark_soundness_error(ax)


def _draw_certified(curves: Steps, ax: "matplotlib.axes.Axes") -> None:
    if curves.certified is None:
        return
    fractions = curves.certified / curves.count
    ax.stairs(fractions, curves.edges, fill=True, color=style.CERTIFIED, alpha=0.15, linewidth=0)
    _band(curves.certified, curves, ax, style.CERTIFIED)
    ax.stairs(
        fractions,
        curves.edges,
        baseline=None,
        color=style.CERTIFIED,
        linewidth=1.8,
        label="certified (lower bound)",
    )


def _draw_attacked(record: Record, curves: Steps, ax: "matplotlib.axes.Axes") -> None:
    fractions = curves.attacked / curves.count
    _band(curves.attacked, curves, ax, style.ATTACKED)
    ax.stairs(
        fractions,
        curves.edges,
        baseline=None,
        color=style.ATTACKED,
        linestyle=(0, (4, 2)),
        linewidth=1.6,
    )
    tested = np.array([radius for radius in record.header.radii if radius < curves.edges[-1]])
    heights = fractions[np.searchsorted(curves.edges[:-1], tested)]
    ax.plot(
        tested,
        heights,
        color=style.ATTACKED,
        linestyle="none",
        marker="o",
        markersize=5,
        zorder=4,
        clip_on=False,
    )
    # One legend entry for the line and its markers.
    ax.plot(
        [],
        [],
        color=style.ATTACKED,
        linestyle=(0, (4, 2)),
        marker="o",
        markersize=5,
        label="attacked (upper bound)",
    )


def _band(counts: np.ndarray, curves: Steps, ax: "matplotlib.axes.Axes", color: str) -> None:
    successes = torch.from_numpy(counts)
    low = lower_bound(successes, curves.count, 0.025).numpy()
    high = upper_bound(successes, curves.count, 0.025).numpy()
    ax.stairs(
        high, curves.edges, baseline=low, fill=True, color=color, alpha=style.BAND, linewidth=0
    )


def _draw_clean(record: Record, ax: "matplotlib.axes.Axes") -> None:
    fraction = clean_accuracy(record).value
    ax.axhline(fraction, color=style.CLEAN, linewidth=0.9, label=f"clean: {percent(fraction)}")


def _draw_gap(curves: Steps, ax: "matplotlib.axes.Axes") -> None:
    attacked = curves.attacked / curves.count
    floor = np.zeros_like(attacked) if curves.certified is None else curves.certified / curves.count
    top = np.maximum(attacked, floor)
    ax.stairs(
        top,
        curves.edges,
        baseline=floor,
        fill=True,
        facecolor=style.UNKNOWN,
        linewidth=0,
        label="unknown",
    )
    _name_gap(curves.edges, floor, top, ax)


def _name_gap(
    edges: np.ndarray, floor: np.ndarray, top: np.ndarray, ax: "matplotlib.axes.Axes"
) -> None:
    """Write "unknown" into the middle of the gap, if it is wide enough there for the word."""
    weights = (top - floor) * np.diff(edges)
    if weights.sum() == 0:
        return
    x = float(((edges[1:] + edges[:-1]) / 2 * weights).sum() / weights.sum())
    half = 0.11 * edges[-1]
    near = (edges[1:] > x - half) & (edges[:-1] < x + half)
    low, high = float(floor[near].max()), float(top[near].min())
    if high - low > 0.07:
        y = (low + high) / 2
        ax.text(x, y, "unknown", ha="center", va="center", fontsize=9, color=style.QUIET)


def _draw_limit(record: Record, ax: "matplotlib.axes.Axes") -> None:
    label = "limit of the data (estimated)"
    points = [point for point in _limits(record) if point[0] <= ax.get_xlim()[1]]
    if not points:
        return
    radii, fractions, down, up = (np.array(column) for column in zip(*points, strict=True))
    ax.errorbar(
        radii,
        fractions,
        yerr=np.stack([down, up]),
        color=style.ESTIMATED,
        linestyle=":",
        linewidth=1.8,
        marker="D",
        markersize=4,
        markerfacecolor="white",
        capsize=3,
        label=label,
        zorder=5,
    )


def _draw_ceiling(record: Record, ax: "matplotlib.axes.Axes") -> None:
    """Draw the proven ceiling where it binds; between radii that of the smaller one counts."""
    found = sorted(record.header.ceiling, key=lambda part: part.radius)
    parts = [part for part in found if 0 < part.radius < ax.get_xlim()[1]]
    if not any(part.value < 1 for part in parts):
        return
    radii = [0.0, *(part.radius for part in parts), ax.get_xlim()[1]]
    values = [1.0, *(part.value for part in parts)]
    about = " (accepted and right)" if _share_name(record).endswith("not wrong") else ""
    ax.stairs(
        values,
        radii,
        baseline=None,
        color=style.ESTIMATED,
        linewidth=1.6,
        label=f"ceiling of these rows{about} (proven)",
        zorder=4,
    )


def _limits(record: Record) -> list[tuple[float, float, float, float]]:
    points = []
    for part in sorted(record.header.limit, key=lambda part: part.radius):
        fraction = part.robustness
        if part.feasible and part.valid and fraction is not None:
            down, up = fraction.value - fraction.low, fraction.high - fraction.value
            points.append((part.radius, fraction.value, max(down, 0.0), max(up, 0.0)))
    return points


def _mark_eps(record: Record, ax: "matplotlib.axes.Axes") -> None:
    eps = record.header.eps
    if eps > ax.get_xlim()[1]:
        return
    ax.axvline(eps, color="#BBBBBB", linewidth=0.8, zorder=0.5)
    ax.annotate(
        "eps",
        (eps, 0.0),
        (3, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=7.5,
        color=style.QUIET,
    )


def _tick_radii(record: Record, ax: "matplotlib.axes.Axes") -> None:
    """Write linf radii as multiples of 1/255 where all of the grid are."""
    radii = record.header.radii
    names = [record.header.radius_text(radius) for radius in radii]
    if len(radii) <= 5 and all("/" in name for name in names):
        ax.set_xticks([0, *radii], ["0", *names])


def _mark_soundness_error(ax: "matplotlib.axes.Axes") -> None:
    text = f"{ax.get_title(loc='left')}: certified exceeds attacked"
    style.title(ax, text, style.WRONG)
    ax.spines[["left", "bottom"]].set_color(style.WRONG)


def _share_name(record: Record) -> str:
    wrong = record.header.guarantee.counts_rejection_as_right
    return "fraction of the test set" + (", not wrong" if wrong else "")


def _common_legend(
    figure: "matplotlib.figure.Figure", panels: list["matplotlib.axes.Axes"]
) -> None:
    entries = {}
    for ax in panels:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label.split(":")[0], handle)
    columns = 2
    if len(panels) > 1:  # five fit in a row
        columns = len(entries) if len(entries) <= 5 else -(-len(entries) // 2)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
    )
