"""Curves of the estimated limit: against risk, radius, gamma, number of regions, number of points.

Every estimate is kept in a file of its own, so that a killed sweep goes on where it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch

from surefoot.limits import Estimate, concentration
from surefoot.limits.split import Rows
from surefoot.papers.results import kept
from surefoot.progress import track
from surefoot.streams import generator
from surefoot.types import PerExample, Points

Over = Literal["risk", "eps", "gamma", "components", "points"]
FIGURES = ("risk", "adversarial_risk", "label_uncertainty", "robustness")
CONFIRMED = ("value", "limit")


class Cloud(NamedTuple):
    """Points with their label uncertainty.

    Args:
        name: of the data, with its fingerprint: what a kept estimate belongs to.
        points: flat.
        uncertainty: of each point; zeros where it is not known.
        search: rows that search where nothing is calibrated; None: a seeded half.
        centres: rows that balls or cubes are grown around; None: all. The name must tell.
    """

    name: str
    points: Points
    uncertainty: PerExample
    search: Rows | None = None
    centres: Rows | None = None


Entry = Mapping[str, Any]
"""An estimate as JSON holds it: flags, and `FIGURES` as {value, low, high}; also of `search`."""


def estimate(
    cloud: Cloud,
    *,
    calibrated: bool = True,
    seed: int = 0,
    folder: Path | None = None,
    **settings: Any,
) -> Entry:
    """Estimate the limit, or read the estimate of the same settings back.

    Args:
        cloud: the data.
        calibrated: False is the protocol of the authors: half of the points search, the other half
            reports, nothing is calibrated.
        seed: of the split.
        folder: keeps the estimate.
        settings: of `concentration`.
    """
    how = {"data": cloud.name, "calibrated": calibrated, "seed": seed, **settings}
    parts = {"centres": cloud.centres} | ({} if calibrated else {"search": _half(cloud, seed)})
    return kept(
        folder,
        how,
        lambda: _entry(
            concentration(cloud.points, cloud.uncertainty, seed=seed, **parts, **settings)
        ),
    )


def _half(cloud: Cloud, seed: int) -> Rows:
    if cloud.search is not None:
        return cloud.search
    order = torch.randperm(len(cloud.points), generator=generator(seed, 0))
    return order[: len(order) // 2]


def _entry(found: Estimate) -> Entry:
    flags = ("feasible", "valid", "calibrated", "largest_gamma", "delta", "components")
    described = found.describe()
    return {name: described[name] for name in (*flags, *FIGURES, "search", "calibrate")}


def sweep(
    cloud: Cloud,
    over: Over,
    values: Sequence[float | int],
    *,
    splits: int = 1,
    seed: int = 0,
    folder: Path | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Estimate the limit at several values of one setting, over several splits.

    Args:
        cloud: the data.
        over: what varies; "points": so many of a seeded order, the smaller among the larger.
        values: of it.
        splits: seeds `seed`, `seed` + 1, ...
        seed: of the first split.
        folder: keeps every estimate.
        settings: of `estimate`, without what varies.

    Returns:
        one row a value and split: `value`, `split`, `feasible`, `valid`, `calibrated`,
        `confirmed` (held-out points of the calibration part reach risk and gamma), and the
        figures with `_low` and `_high`; missing where there is no region.
    """
    lines = []
    pairs = [(value, split) for value in values for split in range(splits)]
    for value, split in track(pairs, f"limit over {over}", len(pairs)):
        own = cloud if over != "points" else _fewer(cloud, int(value), seed)
        more: dict[str, Any] = (
            {} if over == "points" else {over: int(value) if over == "components" else value}
        )
        found = estimate(own, seed=seed + split, folder=folder, **settings, **more)
        lines.append({"value": value, "split": split} | _flat(found))
    return pd.DataFrame(lines)


def _fewer(cloud: Cloud, count: int, seed: int) -> Cloud:
    rows = torch.randperm(len(cloud.points), generator=generator(seed, 3))[:count]
    name = f"{cloud.name}, {count} of seed {seed}"
    return Cloud(name, cloud.points[rows], cloud.uncertainty[rows])


def _flat(found: Entry) -> dict[str, Any]:
    line = {name: found[name] for name in ("feasible", "valid", "calibrated")}
    line["confirmed"] = found["calibrated"] in CONFIRMED
    for name in FIGURES:
        for end in ("value", "low", "high"):
            figure = found[name] or {}
            line[name if end == "value" else f"{name}_{end}"] = figure.get(end)
    return line


def over_splits(table: pd.DataFrame, figure: str = "robustness") -> pd.DataFrame:
    """Average a sweep over its splits.

    Returns:
        one row a value: `value`, `risk` (held out), `y`, `low`, `high` (mean and standard
        deviation over splits; of one split the 95 % interval given its region), `valid` and
        `confirmed` (fractions of the splits with a region), `splits`. Values without a region are
        left out.
    """
    lines = []
    for value, rows in table[table["feasible"]].groupby("value", sort=True):
        middle = float(rows[figure].mean())
        low, high = middle - rows[figure].std(), middle + rows[figure].std()
        if len(rows) == 1:
            low, high = rows[f"{figure}_low"].iloc[0], rows[f"{figure}_high"].iloc[0]
        lines.append(
            {
                "value": value,
                "risk": float(rows["risk"].mean()),
                "y": middle,
                "low": float(low),
                "high": float(high),
                "valid": float(rows["valid"].mean()),
                "confirmed": float(rows["confirmed"].mean()),
                "splits": len(rows),
            }
        )
    return pd.DataFrame(lines)
