"""The tables of a report: text cells, each from one figure; a missing figure is `-`."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from surefoot.escape import markdown
from surefoot.evaluation.certified_sets import (
    by_size,
    gained,
    local_accuracy,
    mean_certified_size,
    rejection_rate,
    relaxed_accuracy,
    singleton_rate,
    strict_accuracy,
)
from surefoot.evaluation.metrics import (
    accepted_and_right,
    attacked_accuracy,
    attacked_right,
    ceiling,
    certified_accuracy,
    certified_right,
    clean_accuracy,
    contradictions,
    coverage,
    fraction,
    mean_set_size,
    paired_difference,
    risk_coverage,
    upper_end,
)
from surefoot.evaluation.record import Record
from surefoot.evaluation.studies.detection import auroc_interval
from surefoot.report.words import class_name
from surefoot.stats import Interval
from surefoot.wording import NONE, percent, with_interval

MOST_CLASSES = 40
"""More classes than this are too many for a table on the page."""
METRICS = ("certified", "attacked", "clean")
LEVELS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Fractions kept."""


def headline(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row a record: its figures at the eps of its threat.

    With a `LabelOrUncertain` record, two columns more: there attacked and certified count what is
    not wrong, refusals included; the additional ones only what is accepted and right.
    """
    frame = pd.DataFrame([_headline_row(record) for record in records])
    return frame if any(map(may_refuse, records)) else frame.drop(columns=list(_KEPT))


def by_radius(record: Record) -> pd.DataFrame:
    """Return one row a radius of the grid: attacked, certified, the gap, ceiling, limit."""
    frame = pd.DataFrame([_radius_row(record, radius) for radius in record.header.radii])
    if not may_refuse(record):
        return frame.drop(columns=list(_KEPT))
    return frame.rename(columns={name: f"{name}, not wrong" for name in ("attacked", "certified")})


def by_class(record: Record) -> pd.DataFrame:
    """Return one row a class that occurs: its figures at the eps of the threat.

    Of more than `MOST_CLASSES` those with the most errors: under attack, or clean without one.
    """
    rows, eps = record.rows, record.header.eps
    right = attacked_right(rows, eps) if record.header.attack else rows["clean"]
    worst = right.groupby(rows["label"]).mean().nsmallest(MOST_CLASSES, keep="first")
    labels = sorted(worst.index.tolist())
    parts = [replace(record, rows=rows[rows["label"] == label]) for label in labels]
    table = [
        {"class": class_name(record.header, label), "n": len(part), **_shares(part, eps)}
        for label, part in zip(labels, parts, strict=True)
    ]
    return pd.DataFrame(table)


def by_attack(record: Record) -> pd.DataFrame | None:
    """Return one row an attack: what it found and what it took; None without costs."""
    attack = record.header.attack
    if attack is None or attack.work is None or not attack.work.costs:
        return None
    table = [
        {
            "attack": name,
            "found": f"{cost.found:,}",
            "forwards": f"{cost.forwards:,}",
            "backwards": f"{cost.backwards:,}",
            "seconds": f"{cost.seconds:.1f}",
        }
        for name, cost in attack.work.costs.items()
        if cost.forwards
    ]
    return pd.DataFrame(table)


def by_coverage(record: Record) -> pd.DataFrame:
    """Return one row a fraction kept: the threshold of the score, and the errors among the kept.

    Examples of equal score are kept or dropped together, so fewer may be kept than asked.
    """
    score, count = record.rows["score"].astype(float).fillna(np.inf), len(record)
    curve = risk_coverage(record.rows["clean"], score)
    rows = {}
    for level in LEVELS:
        within = curve[curve["coverage"] <= level + 1e-12]
        if len(within) == 0:
            continue
        threshold = within["threshold"].iloc[-1]
        kept = score <= threshold
        rows[int(kept.sum())] = {
            "kept": f"{percent(kept.mean())} ({int(kept.sum())} of {count})",
            "threshold": f"{threshold:.4g}",
            **{
                "wrong"
                if kind == "clean"
                else "broken"
                if kind == "attacked"
                else "not certified": with_interval(fraction(~right[kept]))
                for kind, right in _right(record).items()
            },
        }
    return pd.DataFrame(rows.values())


def costs(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row a record: what it took."""
    return pd.DataFrame([_cost_row(record) for record in records])


def _cost_row(record: Record) -> dict[str, str]:
    attack = record.header.attack
    work = attack.work if attack else None
    seconds = record.header.seconds
    return {
        "name": record.header.name,
        "seconds": NONE if seconds is None else f"{seconds:,.1f}",
        "noise samples": f"{int(record.rows['samples'].sum()):,}",
        "forwards of the attack": f"{work.forwards:,}" if work else NONE,
        "backwards": f"{work.backwards:,}" if work else NONE,
    }


def against_ood(records: Sequence[Record], others: Sequence[Record]) -> pd.DataFrame:
    """Return one row a record of other data: how its scores differ from those of the same model.

    AUROC is the fraction of pairs in which the input of the other data has the higher score.

    Args:
        records: of the data that the models are made for.
        others: records of the same models on data of another kind.

    Raises:
        ValueError: one has no record of the same model among the first.
    """
    known = {_answering(record): record for record in records}
    rows = []
    for other in others:
        one = known.get(_answering(other))
        if one is None:
            names = ", ".join(f"{one.header.name} ({one.header.model.hash})" for one in records)
            raise ValueError(
                f"the record {other.header.name} on {other.header.data.name} is of the model"
                f" {other.header.model.hash} ({other.header.model.classifier}), and no other record"
                f" here is of it: {names}. Evaluate the same --model with the same certificate and"
                " rejection options on both data sets."
            )
        rows.append(_ood_row(one, other))
    return pd.DataFrame(rows)


def _answering(record: Record) -> tuple[str | None, str, str]:
    """Return what tells classifiers apart: net, whether it votes, and what it guarantees."""
    header = record.header
    return header.model.hash, header.model.classifier, header.guarantee_text()


def _ood_row(record: Record, other: Record) -> dict[str, Any]:
    parts = [one.rows["score"].astype(float).fillna(np.inf).to_numpy() for one in (record, other)]
    inside = np.repeat([True, False], [len(part) for part in parts])
    return {
        "name": record.header.name,
        "data": record.header.data.name,
        "other data": f"{other.header.data.name} ({len(other)})",
        "AUROC": with_interval(auroc_interval(inside, np.concatenate(parts))),
        "accepted": with_interval(coverage(record)),
        "accepted of the other": with_interval(coverage(other)),
    }


def by_certified_set(record: Record) -> pd.DataFrame:
    """Return one row a radius: VRA local, strict and relaxed, and what the sets cost, side by side.

    VRA: verified robust accuracy. Sizes are means over the certified examples, of the smallest and
    of the largest certified set.
    """
    rows = []
    for radius in record.header.radii:
        sizes = [mean_certified_size(record, radius, which) for which in ("smallest", "largest")]
        rows.append(
            {
                "radius": record.header.radius_text(radius),
                "local VRA": with_interval(local_accuracy(record, radius)),
                "strict VRA": with_interval(strict_accuracy(record, radius)),
                "relaxed VRA": with_interval(relaxed_accuracy(record, radius)),
                "strict, not local": with_interval(gained(record, radius)),
                "singletons": with_interval(singleton_rate(record, radius)),
                "rejected": with_interval(rejection_rate(record, radius)),
                "mean size, smallest to largest": " to ".join(_number(size) for size in sizes),
            }
        )
    return pd.DataFrame(rows)


def by_set_size(record: Record) -> pd.DataFrame:
    """Return one row a size of the smallest certified set at eps: how many, and how many right."""
    found = by_size(record, record.header.eps)
    rows = [
        {
            "smallest certified set": "rejected" if row["size"] == 0 else f"{row['size']:.0f}",
            "examples": f"{row['count']:.0f}",
            "fraction": percent(row["count"] / len(record)),
            "label in the set": NONE
            if row["size"] == 0
            else with_interval(Interval(row["value"], row["low"], row["high"])),
        }
        for row in found.to_dict("records")
    ]
    return pd.DataFrame(rows)


def may_refuse(record: Record) -> bool:
    """Return whether the guarantee counts "uncertain" as an answer that is not wrong."""
    return record.header.guarantee.counts_rejection_as_right


def accepted_right_only(record: Record) -> Record:
    """Restrict a record to answers that are accepted and right; the others count as failed."""
    rows = record.rows
    kept = rows["accepted"] & (rows["prediction"] == rows["label"])
    proven = rows["certified"].where(rows["certified_accepted"] | rows["certified"].isna(), 0.0)
    header = replace(record.header, name="accepted and right")
    rows = rows.assign(clean=rows["clean"] & kept, certified=proven)
    return replace(record, rows=rows, header=header)


def soundness_errors(record: Record) -> list[str]:
    """Return where a certificate and an attack of a record cannot both be right."""
    name, found = record.header.name, []
    broken = record.rows.loc[contradictions(record), "index"].tolist()
    if broken:
        listed = ", ".join(map(str, broken[:10])) + (", …" if len(broken) > 10 else "")
        found.append(
            f"{name}: {len(broken)} examples are certified at a radius at which an attack broke "
            f"them (index {listed}). The certificate or the attack is wrong; trust no figure."
        )
    for radius in record.header.radii:
        certified, attacked = certified_accuracy(record, radius), attacked_accuracy(record, radius)
        if certified is not None and certified.value > attacked.value:
            at = record.header.radius_text(radius)
            found.append(
                f"{name}: at radius {at} certified accuracy {percent(certified.value)} exceeds "
                f"attacked accuracy {percent(attacked.value)}."
            )
    return found


def notes_of(records: Sequence[Record]) -> list[str]:
    """Collect what a reader should know of the records."""
    return [f"{record.header.name}: {text}" for record in records for text in record.header.notes]


def differences(records: Sequence[Record]) -> pd.DataFrame | None:
    """Compare every record with the first at its eps; None where none has the same rows and eps.

    One row a record: for each metric the difference in points, its interval, exact McNemar p.
    """
    first, rows = records[0], []
    right = _right(first)
    for other in records[1:]:
        if not _same_rows(first, other):
            continue
        theirs = _right(other)
        cells = {name: _difference(theirs.get(name), right.get(name)) for name in METRICS}
        rows.append({f"less {first.header.name}": other.header.name, **cells})
    return pd.DataFrame(rows) if rows else None


def _difference(ours: pd.Series | None, theirs: pd.Series | None) -> str:
    if ours is None or theirs is None:
        return NONE
    found = paired_difference(ours, theirs)
    ends = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.value:+.1f} {ends} (p = {found.p_value:.2g})"


def _same_rows(one: Record, other: Record) -> bool:
    first, second = one.header, other.header
    alike = first.data.hash == second.data.hash and first.threat == second.threat
    return alike and one.rows["index"].tolist() == other.rows["index"].tolist()


def _right(record: Record) -> dict[str, pd.Series]:
    """Flag the rows that count, by metric, at eps."""
    rows, eps = record.rows, record.header.eps
    found = {"clean": rows["clean"]}
    if record.header.attack:
        found["attacked"] = attacked_right(rows, eps)
    if not rows["certified"].isna().all():
        found["certified"] = certified_right(rows, eps)
    return found


def warnings_of(records: Sequence[Record]) -> list[str]:
    """Collect the soundness errors of all records, then the warnings that they hold."""
    said = [
        f"{record.header.name}: {text}" for record in records for text in record.header.warnings
    ]
    return [text for record in records for text in soundness_errors(record)] + said


def to_markdown(frame: pd.DataFrame) -> str:
    """Write a table as Markdown; no cell can break out of it."""
    head = [str(name) for name in frame.columns]
    lines = [head, ["---"] * len(head), *frame.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines) + "\n"


_KEPT = {"attacked, accepted and right": 0, "certified, accepted and right": 1}
"""The column and its place in what `accepted_and_right` gives."""


def _headline_row(record: Record) -> dict[str, Any]:
    header, size = record.header, mean_set_size(record)
    eps, limit = header.eps, header.limit_at(header.eps)
    fractions = _shares(record, eps)
    covered = fractions.pop("coverage")
    return {
        "name": header.name,
        "certified @ eps": fractions["certified"],
        "attacked @ eps": fractions["attacked"],
        "clean": fractions["clean"],
        **_kept_shares(record, eps),
        "limit @ eps": limit.text() if limit else NONE,
        "coverage": covered,
        "set size": _number(size),
        "n": len(record),
        "classifier": header.model.classifier,
        "guarantee": header.guarantee_text(),
    }


def _radius_row(record: Record, radius: float) -> dict[str, str]:
    certified, attacked = certified_accuracy(record, radius), attacked_accuracy(record, radius)
    gap = upper_end(record, radius) - (certified.value if certified else 0.0)
    limit = record.header.limit_at(radius)
    return {
        "radius": record.header.radius_text(radius),
        "attacked": with_interval(attacked if record.header.attack else None),
        "certified": with_interval(certified),
        **_kept_shares(record, radius),
        "unknown": percent(gap),
        "ceiling": percent(ceiling(record, radius)) if record.header.ceiling else NONE,
        "limit": limit.text() if limit else NONE,
    }


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2f}"


def _shares(record: Record, eps: float) -> dict[str, str]:
    attacked = attacked_accuracy(record, eps) if record.header.attack else None
    return {
        "clean": with_interval(clean_accuracy(record)),
        "attacked": with_interval(attacked),
        "certified": with_interval(certified_accuracy(record, eps)),
        "coverage": with_interval(coverage(record)),
    }


def _kept_shares(record: Record, radius: float) -> dict[str, str]:
    if not may_refuse(record):
        return dict.fromkeys(_KEPT, NONE)
    attacked, certified = accepted_and_right(record, radius)
    fractions = (attacked if record.header.attack else None, certified)
    return {name: with_interval(fractions[place]) for name, place in _KEPT.items()}
