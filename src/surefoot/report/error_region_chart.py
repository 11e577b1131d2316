"""Figure of error regions: annotator disagreement inside them, over their size."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from surefoot.evaluation.studies.error_region import ErrorRegion, correlation
from surefoot.report import style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

COLORS = ("#D55E00", "#0072B2", "#3A3A3A", "#CC79A7", "#009E73")
MARKS = ("o", "s", "^", "D", "v")
MOST_NAMED = 12
"""More classifiers than this are drawn without their names."""


class PublishedRange(NamedTuple):
    """A range that was published: of risk, and of the label uncertainty found there."""

    risk: tuple[float, float]
    label_uncertainty: tuple[float, float]


def error_region_chart(
    regions: Sequence[ErrorRegion],
    *,
    kinds: Sequence[str] | None = None,
    published: Mapping[str, Sequence[PublishedRange]] | None = None,
) -> "matplotlib.figure.Figure":
    """Draw label uncertainty of error regions over risk, with random balls of equal measure.

    Below stands the rank correlation with its interval. Bars are 95 % intervals.

    Args:
        regions: one a classifier, at least one.
        kinds: of each classifier, which give the colours; None: one kind.
        published: kind -> ranges, drawn as a band.
    """
    from matplotlib.ticker import PercentFormatter, ScalarFormatter

    kinds = ["classifiers"] * len(regions) if kinds is None else kinds
    bands = published or {}
    figure = style.new_figure(7.2, 5.0)
    ax = figure.add_subplot()
    _balls(ax, regions)
    every: list[str] = list(dict.fromkeys([*kinds, *bands]))
    for place, kind in enumerate(every):
        color = COLORS[place % len(COLORS)]
        if kind in bands:
            _band(ax, kind, bands[kind], color)
        own = [one for one, other in zip(regions, kinds, strict=True) if other == kind]
        if own:
            _points(ax, kind, own, color, MARKS[place % len(MARKS)])
    if len(regions) <= MOST_NAMED:
        _names(ax, regions)
    style.tidy(ax)
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    style.title(ax, "Label uncertainty of error regions over their risk")
    ax.set_xlabel("risk: fraction of errors", fontsize=9)
    ax.set_ylabel("mean label uncertainty of the errors", fontsize=9)
    style.legend_below(ax, "")
    style.caption(figure, said(regions))
    return figure


def said(regions: Sequence[ErrorRegion]) -> str:
    """Return the correlation in a sentence."""
    found = correlation(regions)
    if np.isnan(found.value):
        return f"Rank correlation of risk and label uncertainty: none from {len(regions)}."
    return (
        "Rank correlation of risk and label uncertainty:"
        f" {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] over {len(regions)} classifiers"
        " (they share the images)."
    )


def _balls(ax: "matplotlib.axes.Axes", regions: Sequence[ErrorRegion]) -> None:
    ordered = sorted(regions, key=lambda one: one.risk.value)
    risk = [one.risk.value for one in ordered]
    low, middle, high = (
        [getattr(one.balls, end) for one in ordered] for end in ("low", "value", "high")
    )
    label = "random balls (95 % of them)"
    if len(ordered) == 1:
        ends = [[middle[0] - low[0]], [high[0] - middle[0]]]
        ax.errorbar(risk, middle, yerr=ends, fmt=".", color=style.ESTIMATED, label=label)
        return
    ax.fill_between(risk, low, high, color=style.ESTIMATED, alpha=0.15, linewidth=0)
    ax.plot(risk, middle, ":", color=style.ESTIMATED, label=label)


def _band(
    ax: "matplotlib.axes.Axes", kind: str, ranges: Sequence[PublishedRange], color: str
) -> None:
    """Draw published ranges as one band; within a range uncertainty falls as risk rises."""
    ordered = sorted(ranges)
    middles = [sum(one.risk) / 2 for one in ordered]
    ends = [ordered[0].risk[0], *middles, ordered[-1].risk[1]]
    low, high = zip(*(one.label_uncertainty for one in ordered), strict=True)
    low, high = (low[0], *low, low[-1]), (high[0], *high, high[-1])
    label = f"published, {kind}"
    ax.fill_between(ends, low, high, color=color, alpha=0.12, linewidth=0, label=label)


def _points(
    ax: "matplotlib.axes.Axes", kind: str, own: Sequence[ErrorRegion], color: str, mark: str
) -> None:
    risk, unsure = [one.risk for one in own], [one.label_uncertainty for one in own]
    across, up = (
        np.array([[one.value - one.low, one.high - one.value] for one in side]).T
        for side in (risk, unsure)
    )
    ax.errorbar(
        [one.value for one in risk],
        [one.value for one in unsure],
        xerr=across,
        yerr=up,
        fmt=mark,
        color=color,
        markersize=4.5,
        elinewidth=0.7,
        label=f"{kind} ({len(own)})",
    )


def _names(ax: "matplotlib.axes.Axes", regions: Sequence[ErrorRegion]) -> None:
    for one in regions:
        ax.annotate(
            style.short(one.name, 28),
            (one.risk.value, one.label_uncertainty.value),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=6.5,
            color=style.QUIET,
        )
