"""The rejection curve: how fast errors vanish when the least certain examples are refused."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from surefoot.evaluation.metrics import (
    area_under_risk_coverage,
    attacked_right,
    certified_right,
    coverage,
    risk_coverage,
)
from surefoot.evaluation.record import Record
from surefoot.report import style
from surefoot.stats import interval
from surefoot.wording import percent

if TYPE_CHECKING:
    import matplotlib.axes

BAND_POINTS = 60
LOOKS: dict[str, tuple] = {
    "clean": (style.CLEAN, "-"),
    "attacked": (style.ATTACKED, (0, (4, 2))),
    "not": (style.CERTIFIED, "-"),
}
"""Colour and dashes by the first word of a kind."""


def right_by_kind(record: Record) -> dict[str, pd.Series]:
    """Flag the right examples: clean, attacked at eps and, with a certificate, certified at eps."""
    rows, eps = record.rows, record.header.eps
    at = f"at {record.header.eps_text()}"
    kinds = {"clean": rows["clean"]}
    if record.header.attack:
        kinds[f"attacked {at}"] = attacked_right(rows, eps)
    if not rows["certified"].isna().all():
        kinds[f"not certified {at}"] = certified_right(rows, eps)
    return kinds


def curves(record: Record) -> dict[str, pd.DataFrame]:
    """Return one risk-coverage curve a kind; a missing score counts as the least certain."""
    score = record.rows["score"].astype(float).fillna(np.inf)
    return {kind: risk_coverage(right, score) for kind, right in right_by_kind(record).items()}


def rejection_curve(
    record: Record, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.axes.Axes":
    """Draw the error among the kept examples over the coverage, with AURC in the legend.

    The order is that of `score` on the unchanged image; the thin level lines are what a random
    order would give. A curve that ends in one step has scores that are all equal.

    Args:
        record: of one classifier.
        ax: draw here; None makes a signed figure (`ax.figure`).
    """
    ax = style.own_axes([record]) if ax is None else ax
    for kind, curve in curves(record).items():
        _draw(kind, curve, LOOKS[kind.split()[0]], len(record), ax)
    ax.plot([], [], color=style.QUIET, linewidth=0.7, label="random order (thin lines)")
    _mark_operating_point(record, ax)
    _finish(record, ax)
    return ax


def _draw(
    kind: str, curve: pd.DataFrame, look: tuple, count: int, ax: "matplotlib.axes.Axes"
) -> None:
    color, dashes = look
    kept, risk = curve["coverage"].to_numpy(), curve["risk"].to_numpy()
    label = f"{kind}: AURC {area_under_risk_coverage(curve):.3f}"
    ax.stairs(
        risk,
        np.append(0.0, kept),
        baseline=None,
        color=color,
        linestyle=dashes,
        linewidth=1.6,
        label=label,
    )
    ax.axhline(risk[-1], color=color, linewidth=0.7, alpha=0.6)
    chosen = np.unique(np.linspace(0, len(kept) - 1, BAND_POINTS).astype(int))
    numbers = np.rint(kept[chosen] * count).astype(int)
    bands = [
        interval(round(value * number), number)
        for value, number in zip(risk[chosen].tolist(), numbers.tolist(), strict=True)
    ]
    low, high = [band.low for band in bands], [band.high for band in bands]
    ax.fill_between(kept[chosen], low, high, color=color, alpha=0.09, linewidth=0)


def _mark_operating_point(record: Record, ax: "matplotlib.axes.Axes") -> None:
    accepted = coverage(record).value
    if accepted < 1:
        label = f"accepts {percent(accepted)}"
        ax.axvline(accepted, color=style.QUIET, linestyle=(0, (1, 2)), linewidth=1, label=label)


def _finish(record: Record, ax: "matplotlib.axes.Axes") -> None:
    from matplotlib.ticker import PercentFormatter

    found = curves(record).values()
    # The first few kept examples say little; their wild errors must not set the scale.
    worst = max(curve["risk"].to_numpy()[curve["coverage"] >= 0.1].max() for curve in found)
    style.tidy(ax)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.set(xlim=(0, 1), ylim=(0, min(1.0, max(0.05, 1.3 * worst))))
    ax.set_xlabel("coverage: fraction kept, most certain first", fontsize=9)
    ax.set_ylabel("error among the kept", fontsize=9)
    style.title(ax, f"{record.header.name}: {record.header.guarantee_text()}")
    style.legend_below(ax, f"n = {len(record)}; bands: 95 % intervals")
