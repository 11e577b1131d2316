"""What abstaining on disputed images buys: accuracy of the kept part against coverage.

Zhang, Evans, ICLR 2022, drop the images of most HUMAN label uncertainty. That is an oracle: they
must have judged the very image. A score of the classifier is a prediction, and can be used.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from surefoot.evaluation.metrics import (
    area_under_risk_coverage,
    attacked_right,
    certified_right,
    fraction,
    risk_coverage,
)
from surefoot.evaluation.record import Record
from surefoot.types import PerExample

Scores = Mapping[str, PerExample]
"""Name -> score of each image, higher = dropped earlier."""
QUANTILES = (0.98, 0.9, 0.8)
"""Of human label uncertainty, at which Zhang and Evans mark their curves."""
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Coverages of a curve."""


def kinds(record: Record, radius: float) -> dict[str, pd.Series]:
    """Flag what is right: clean, attacked at the radius and, with a certificate, certified."""
    found = {"clean": record.rows["clean"]}
    if record.header.attack is not None:
        found["attacked"] = attacked_right(record.rows, radius)
    if not record.rows["certified"].isna().all():
        found["certified"] = certified_right(record.rows, radius)
    return found


def abstention(
    record: Record, scores: Scores, radius: float, levels: Sequence[float] = LEVELS
) -> pd.DataFrame:
    """Return the accuracy of the kept part at several coverages, for every score and kind.

    Images of equal score stay or go together: a level becomes the next coverage above it that the
    score can tell apart. The score alone decides, not the classifier's own rejections.

    Args:
        record: of one classifier.
        scores: human label uncertainty and predictions of it, one value a row.
        radius: of the attacked and certified kind.
        levels: coverages, in (0, 1].

    Returns:
        columns `score`, `kind`, `coverage`, `accuracy`, `low`, `high` (Clopper-Pearson, 95 %).
    """
    lines = []
    for name, score in scores.items():
        values = _series(score, len(record))
        for kind, right in kinds(record, radius).items():
            for threshold in _thresholds(values, levels):
                kept = values <= threshold
                ours = fraction(right[kept])
                place = {"score": name, "kind": kind, "coverage": float(kept.mean())}
                lines.append(place | {"accuracy": ours.value, "low": ours.low, "high": ours.high})
    return pd.DataFrame(lines).drop_duplicates(["score", "kind", "coverage"], ignore_index=True)


def areas(record: Record, scores: Scores, radius: float) -> pd.DataFrame:
    """Return the area under risk-coverage (AURC) of every score and kind, and that of no order.

    Returns:
        columns `score`, `kind`, `area`, `random`: the error of the whole, which is the area of a
        random order; a score below it helps.
    """
    lines = []
    for name, score in scores.items():
        values = _series(score, len(record))
        for kind, right in kinds(record, radius).items():
            area = area_under_risk_coverage(risk_coverage(right, values))
            whole = 1 - float(right.mean())
            lines.append({"score": name, "kind": kind, "area": area, "random": whole})
    return pd.DataFrame(lines)


def at_quantiles(
    record: Record,
    uncertainty: PerExample,
    radius: float,
    quantiles: Sequence[float] = QUANTILES,
) -> pd.DataFrame:
    """Keep the images up to a quantile of human label uncertainty.

    Returns:
        columns `quantile`, `threshold`, `kind`, `coverage`, `accuracy`, `low`, `high`.
    """
    values, lines = _series(uncertainty, len(record)), []
    for quantile in quantiles:
        threshold = float(np.quantile(values, quantile))
        kept = values <= threshold
        for kind, right in kinds(record, radius).items():
            ours = fraction(right[kept])
            bounds = {"accuracy": ours.value, "low": ours.low, "high": ours.high}
            place = {"quantile": quantile, "threshold": threshold, "kind": kind}
            lines.append(place | {"coverage": float(kept.mean())} | bounds)
    return pd.DataFrame(lines)


def _series(score: Tensor, count: int) -> pd.Series:
    if len(score) != count:
        raise ValueError(f"a score needs one value for each of {count} rows; found {len(score)}")
    return pd.Series(score.double().cpu().numpy()).fillna(np.inf)


def _thresholds(values: pd.Series, levels: Sequence[float]) -> list[float]:
    """Return the least value that keeps at least each fraction."""
    ranked = np.sort(values.to_numpy())
    places = [max(1, int(np.ceil(level * len(ranked) - 1e-9))) - 1 for level in levels]
    return [float(ranked[place]) for place in places]
