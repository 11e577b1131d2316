"""The figures of a record, each a pure function of its rows, each with an exact interval.

For every record and radius: certified <= attacked <= clean, by construction.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from surefoot.evaluation.record import Record
from surefoot.stats import Interval, interval, mean_interval


def fraction(flags: pd.Series, alpha: float = 0.05) -> Interval:
    """Return the fraction of True with its two-sided Clopper-Pearson interval."""
    return interval(int(flags.sum()), len(flags), alpha)


def clean_accuracy(record: Record) -> Interval:
    """Return the fraction of examples that are right without any change."""
    return fraction(record.rows["clean"])


def attacked_accuracy(record: Record, radius: float) -> Interval:
    """Return the fraction that no attack broke up to the radius, an upper bound on robustness."""
    return fraction(attacked_right(record.rows, radius))


def trade_off(record: Record, radius: float) -> Interval:
    r"""Return the mean of clean and attacked accuracy, the trade-off of Pagliardini et al. 2022.

    $$ \tfrac1N \sum_i \tfrac12 (c_i + a_i), \qquad a_i \le c_i \in \{0, 1\} $$
    c and a belong to the same images, so the interval is that of the mean of their halves 0, 1/2
    and 1 (`stats.mean_interval`, 95 % at every number of images). Like attacked accuracy an upper
    bound: of what a perfect attack would leave.
    """
    rows = record.rows
    halves = (rows["clean"].astype(float) + attacked_right(rows, radius)) / 2
    return mean_interval(halves.to_numpy())


def certified_accuracy(record: Record, radius: float) -> Interval | None:
    """Return the fraction that is certified to the radius; None without a certificate."""
    if record.rows["certified"].isna().all():
        return None
    return fraction(certified_right(record.rows, radius))


def attacked_right(rows: pd.DataFrame, radius: float) -> pd.Series:
    """Flag the examples that were not broken at any tested radius up to this one."""
    return rows["clean"] & (rows["attacked"] > radius)


def certified_right(rows: pd.DataFrame, radius: float) -> pd.Series:
    """Flag the examples certified to the radius; at 0 anything certified counts."""
    certified = rows["certified"].fillna(0.0)
    return rows["clean"] & (certified > 0) & (certified >= radius)


def contradictions(record: Record) -> list[int]:
    """List the rows that are certified to a radius at which a counterexample lies."""
    rows = record.rows
    broken = np.isfinite(rows["attacked"]) & (rows["attacked"] > 0)
    reached = (rows["certified"] >= rows["attacked"]) | (rows["certified"] >= rows["nearest"])
    return rows.index[broken & reached].tolist()


def ceiling(record: Record, radius: float) -> float:
    """Return the fraction of these rows that any classifier can get right and robust; 1 if unknown.

    For `LabelOrUncertain` rows that are accepted and right.
    """
    found = record.header.ceiling_at(radius)
    return 1.0 if found is None else found.value


def upper_end(record: Record, radius: float) -> float:
    """Return the upper end of the bracket: attacked accuracy, or the proven ceiling if lower."""
    if record.header.guarantee.counts_rejection_as_right:
        return attacked_accuracy(record, radius).value  # of what is not wrong: no ceiling
    return min(attacked_accuracy(record, radius).value, ceiling(record, radius))


@dataclass(frozen=True)
class CrossCheck:
    """What attacks say about a certificate.

    Args:
        inside: attacks on an example inside its certified radius; each could have refuted it.
        refuted: how many did (a broken row is one).
        both: examples with a certified radius for which a counterexample was found.
        ratio: median over these of (distance of the nearest one) / (certified radius): how loose
            certificate and attack are together, 1 = both tight; NaN without such examples.
        least: the smallest such ratio; at 1 or below it is a contradiction.
    """

    inside: int
    refuted: int
    both: int
    ratio: float
    least: float


def cross_check(record: Record) -> CrossCheck | None:
    """Hold the attacks of a record against its certificate; None where one of both is missing.

    A row is attacked at every radius of the grid up to the one at which it was broken, save where
    the evaluation skipped what is certified; those attacks are not counted.
    """
    rows, attack = record.rows, record.header.attack
    if attack is None or attack.work is None or rows["certified"].isna().all():
        return None
    certified, attacked = rows["certified"].fillna(0.0), rows["attacked"]
    tried = [
        int((rows["clean"] & (certified >= radius) & (attacked >= radius)).sum())
        for radius in record.header.radii
    ]
    near = np.isfinite(rows["nearest"]) & np.isfinite(attacked)
    both = (certified > 0) & near & (attacked > 0)
    ratios = (rows["nearest"][both] / certified[both]).to_numpy()
    middle, least = (np.median(ratios), ratios.min()) if len(ratios) else (np.nan, np.nan)
    inside = sum(tried) - attack.work.skipped_certified
    refuted = len(contradictions(record))
    return CrossCheck(inside, refuted, len(ratios), float(middle), float(least))


def headline(record: Record) -> dict[str, float | None]:
    """Return the metrics at the headline radius; None where something was not asked for."""
    eps, header = record.header.eps, record.header
    certified, limit = certified_accuracy(record, eps), header.limit_at(eps)
    size = mean_set_size(record)
    return {
        "clean": clean_accuracy(record).value,
        "attacked": attacked_accuracy(record, eps).value if header.attack else None,
        "certified": certified.value if certified else None,
        "ceiling": ceiling(record, eps) if header.ceiling else None,
        "limit (estimate)": limit.robustness.value if limit and limit.robustness else None,
        "coverage": coverage(record).value,
        "set size": size if size == size else None,
    }


def table(record: Record) -> pd.DataFrame:
    """Return clean, attacked and certified accuracy at each radius with their 95 % intervals.

    Returns:
        columns `metric`, `radius` (0 for clean), `value`, `low`, `high`, as fractions.
    """
    found = [("clean", 0.0, clean_accuracy(record))]
    for radius in record.header.radii:
        if record.header.attack:
            found.append(("attacked", radius, attacked_accuracy(record, radius)))
        certified = certified_accuracy(record, radius)
        if certified is not None:
            found.append(("certified", radius, certified))
    return pd.DataFrame(
        [{"metric": name, "radius": at, **asdict(interval)} for name, at, interval in found]
    )


def coverage(record: Record) -> Interval:
    """Return the fraction of accepted examples."""
    return fraction(record.rows["accepted"])


def accepted_and_right(record: Record, radius: float) -> tuple[Interval, Interval | None]:
    """Restrict (attacked, certified) accuracy to examples accepted with the right label."""
    rows = record.rows
    kept = rows["accepted"] & (rows["prediction"] == rows["label"])
    attacked = fraction(kept & attacked_right(rows, radius))
    if rows["certified"].isna().all():
        return attacked, None
    return attacked, fraction(kept & rows["certified_accepted"] & certified_right(rows, radius))


@dataclass(frozen=True)
class PairedDifference:
    """One classifier against another on the same rows.

    Args:
        value: fraction of the first less that of the second.
        low: end of its 95 % interval, exact given how many rows differ.
        high: other end.
        p_value: of no difference, exact McNemar.
    """

    value: float
    low: float
    high: float
    p_value: float


def paired_difference(ours: pd.Series, theirs: pd.Series) -> PairedDifference:
    r"""Compare two classifiers that were right on some of the same rows.

    With b rows that only the first has right and c that only the second has, b is binomial with
    b + c trials and q = 1/2 if they are equal (McNemar, exact); the interval is that of q
    (Clopper-Pearson), carried to the difference $(2q - 1)(b + c) / n$.
    """
    from scipy.stats import binomtest

    first, second = ours.to_numpy(bool), theirs.to_numpy(bool)
    more, less = int((first & ~second).sum()), int((~first & second).sum())
    differ, count = more + less, len(first)
    if differ == 0:
        return PairedDifference(0.0, 0.0, 0.0, 1.0)
    fraction_of_more = interval(more, differ)
    low, high = (
        (2 * end - 1) * differ / count for end in (fraction_of_more.low, fraction_of_more.high)
    )
    return PairedDifference((more - less) / count, low, high, float(binomtest(more, differ).pvalue))


def mean_set_size(record: Record) -> float:
    """Average the size of the sets that hold; NaN if none does."""
    sizes = record.rows["set_size"]
    return float(sizes[sizes > 0].mean()) if bool((sizes > 0).any()) else float("nan")


def risk_coverage(right: pd.Series, score: pd.Series) -> pd.DataFrame:
    """Return the error among the kept examples when the most uncertain ones are dropped first.

    Examples of equal score are kept or dropped together; a NaN score is the least certain of all.

    Returns:
        one row a threshold: `threshold`, `coverage`, `risk`, from few kept to all.
    """
    filled = score.fillna(np.inf).to_numpy()
    order = filled.argsort(kind="stable")
    ranked, wrong = filled[order], (~right).to_numpy()[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    kept = np.arange(1, len(ranked) + 1)
    risk = np.cumsum(wrong) / kept
    return pd.DataFrame({"threshold": ranked, "coverage": kept / len(ranked), "risk": risk})[
        last_of_tie
    ].reset_index(drop=True)


def area_under_risk_coverage(curve: pd.DataFrame) -> float:
    """Average the risk over the coverage (AURC): the step function of the curve."""
    steps = np.diff(np.append(0.0, curve["coverage"].to_numpy()))
    return float((steps * curve["risk"].to_numpy()).sum())
