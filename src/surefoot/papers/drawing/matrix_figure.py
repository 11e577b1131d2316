"""The matrix of guarantees and certificates: what is proven, broken and clean, a bar a cell."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from surefoot.evaluation import metrics
from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.wording import percent

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


def matrix_figure(records: Mapping[str, Sequence[Record]]) -> "matplotlib.figure.Figure":
    """Draw for each certificate a panel, for each guarantee a bar from certified to attacked.

    Args:
        records: certificate -> one record a guarantee, the same guarantees in each.
    """
    count = max(map(len, records.values()))
    figure = style.new_figure(4.9 * len(records), 0.55 * count + 1.7)
    panels = figure.subplots(1, len(records), sharey=True, squeeze=False)[0]
    for ax, (column, found) in zip(panels, records.items(), strict=True):
        for place, record in enumerate(found):
            _bar(ax, -place, record)
        first = found[0].header
        _finish(ax, f"{column}, {first.norm} {first.eps_text()}, n = {len(found[0])}")
        ax.set_yticks([-place for place in range(len(found))], [one.header.name for one in found])
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper left",
        ncols=5,
        frameon=False,
        fontsize=8,
    )
    return figure


def _bar(ax: "matplotlib.axes.Axes", place: int, record: Record) -> None:
    """Draw one cell; only the first is named in the legend."""
    eps, named = record.header.eps, place == 0
    certified = metrics.certified_accuracy(record, eps)
    attacked, clean = metrics.attacked_accuracy(record, eps), metrics.clean_accuracy(record)
    low = certified.value if certified else 0.0

    def label(text: str) -> str:
        return text if named else "_nolegend_"

    ax.barh(place, low, height=0.5, color=style.CERTIFIED, alpha=0.25, label=label("certified"))
    ax.barh(
        place,
        attacked.value - low,
        left=low,
        height=0.5,
        color=style.UNKNOWN,
        label=label("unknown"),
    )
    for interval, color, mark, text in (
        (certified, style.CERTIFIED, "D", ""),
        (attacked, style.ATTACKED, "o", "attacked"),
        (clean, style.CLEAN, "|", "clean"),
    ):
        if interval is None:
            continue
        ends = [[interval.value - interval.low], [interval.high - interval.value]]
        ax.errorbar(
            interval.value,
            place,
            xerr=ends,
            fmt=mark,
            color=color,
            markersize=5 if mark != "|" else 12,
            linewidth=1,
            label=label(text) if text else "_nolegend_",
        )
    _limits(ax, place, record)
    if certified:
        ax.text(0.01, place, percent(low), va="center", fontsize=8, color=style.CERTIFIED)


def _limits(ax: "matplotlib.axes.Axes", place: int, record: Record) -> None:
    """Mark the proven ceiling, and the estimated limit where it is valid."""
    eps = record.header.eps
    span = [place - 0.35, place + 0.35]
    if record.header.ceiling:
        ax.plot([metrics.ceiling(record, eps)] * 2, span, color=style.ESTIMATED, linewidth=1.6)
    limit = record.header.limit_at(eps)
    if limit and limit.valid and limit.robustness:
        ax.plot([limit.robustness.value] * 2, span, ":", color=style.ESTIMATED, linewidth=1.6)


def _finish(ax: "matplotlib.axes.Axes", title: str) -> None:
    from matplotlib.ticker import PercentFormatter

    style.title(ax, title)
    ax.set(xlim=(0, 1.005))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(labelsize=8.5, length=0)
    ax.plot([], [], color=style.ESTIMATED, linewidth=1.6, label="ceiling of these rows (proven)")
