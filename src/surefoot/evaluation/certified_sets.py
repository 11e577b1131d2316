"""Figures of certified sets: what a guarantee that speaks of sets is worth, read from a record.

At a radius r an alternative is certified when its radius is at least r (at r = 0, above 0). The
alternatives of a guarantee are nested (each is the set of the k best outcomes for some k), so of
those certified one is the smallest, and it lies in the largest:

- local VRA: the label alone is certified;
- strict VRA: the label lies in the smallest certified set;
- relaxed VRA: it lies in the largest, which is to say in some certified set. That is the certified
  accuracy of the record. Alone it can be gamed by large sets.

local <= strict <= relaxed <= 1 - rejection. VRA: verified robust accuracy.

Leino, Fredrikson 2021 (relaxed, strictest and loosest set). Only for guarantees with the quantifier
`every`, and records with a certificate.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from surefoot.evaluation.metrics import fraction
from surefoot.evaluation.record import Record, split_radii, split_sets
from surefoot.stats import Interval, interval

MOST_SETS, MOST_IMAGES = 6, 6
"""Certified sets of which images are kept and shown, and images of each."""
Which = Literal["smallest", "largest"]
"""Guarantees whose sets may hold more than one label."""


@dataclass(frozen=True)
class Alternatives:
    """All alternatives of a record.

    Args:
        members: bool `[N, A, O]`; all False where an alternative is not available.
        radii: certified radii `[N, A]`, in the norm of the threat.
        labels: true labels `[N]`.
        classes: how many outcomes are labels; "uncertain" comes after them.
    """

    members: np.ndarray
    radii: np.ndarray
    labels: np.ndarray
    classes: int


def is_set_valued(record: Record) -> bool:
    """Return if these figures mean something for a record: sets, and a certificate for them."""
    return record.header.guarantee.set_valued and record.header.certificate is not None


def alternatives(record: Record) -> Alternatives:
    """Read all alternatives of a record with a certificate."""
    if record.header.guarantee.counts_rejection_as_right:
        raise ValueError(
            "figures of certified sets are for guarantees in which every member of a set beats"
            " every other outcome; where a rejection counts as right, one of them may win"
        )
    sets, radii = split_sets(list(record.rows["sets"])), split_radii(list(record.rows["radii"]))
    if not all(radii):
        raise ValueError(
            "figures of certified sets need a certificate: evaluate with certificate lipschitz or"
            " smoothing"
        )
    classes = len(record.header.data.classes)
    named = [member for row in sets for part in row for member in part]
    members = np.zeros((len(sets), len(radii[0]), max([classes - 1, *named]) + 1), dtype=bool)
    for number, row in enumerate(sets):
        for place, part in enumerate(row):
            members[number, place, part] = True
    labels = record.rows["label"].to_numpy(int)
    return Alternatives(members, np.array(radii, dtype=float), labels, classes)


def certified_set(found: Alternatives, radius: float, which: Which = "smallest") -> np.ndarray:
    """Return the members of one certified set for each example, `[N, O]`; all False if rejected.

    A set without any label ("uncertain" alone) is a rejection.
    """
    sizes = found.members.sum(2)
    proven = (found.radii > 0) & (found.radii >= radius)
    proven &= found.members[:, :, : found.classes].any(2)
    worst = found.members.shape[2] + 1 if which == "smallest" else 0
    ranked = np.where(proven, sizes, worst)
    place = ranked.argmin(1) if which == "smallest" else ranked.argmax(1)
    chosen = found.members[np.arange(len(place)), place]
    return chosen & proven.any(1, keepdims=True)


@dataclass(frozen=True)
class Grouping:
    """Labels that are certified together, and where.

    Args:
        members: outcomes in the set.
        places: rows of the record whose smallest certified set it is, in order.
    """

    members: tuple[int, ...]
    places: tuple[int, ...]


def groupings(record: Record, radius: float) -> list[Grouping]:
    """Return the smallest certified sets of two or more members, the most frequent first."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(certified_set(alternatives(record), radius)):
        if row.sum() > 1:
            found.setdefault(tuple(np.flatnonzero(row).tolist()), []).append(place)
    grouped = [Grouping(members, tuple(places)) for members, places in found.items()]
    return sorted(grouped, key=lambda one: (-len(one.places), one.members))


def label_alone(record: Record, radius: float) -> np.ndarray:
    """Flag the examples whose label alone is certified."""
    found = alternatives(record)
    chosen = certified_set(found, radius)
    return _holds(chosen, found.labels) & (chosen.sum(1) == 1)


def label_inside(record: Record, radius: float, which: Which = "smallest") -> np.ndarray:
    """Flag the examples whose label lies in the smallest, or the largest, certified set."""
    found = alternatives(record)
    return _holds(certified_set(found, radius, which), found.labels)


def local_accuracy(record: Record, radius: float) -> Interval:
    """Return the fraction whose label alone is certified (VRA, local)."""
    return _share(label_alone(record, radius))


def strict_accuracy(record: Record, radius: float) -> Interval:
    """Return the fraction whose label lies in the smallest certified set (strict-k VRA)."""
    return _share(label_inside(record, radius))


def relaxed_accuracy(record: Record, radius: float) -> Interval:
    """Return the fraction whose label lies in the largest certified set (relaxed VRA)."""
    return _share(label_inside(record, radius, "largest"))


def singleton_rate(record: Record, radius: float) -> Interval:
    """Return the fraction whose smallest certified set is one outcome, right or wrong."""
    return _share(certified_set(alternatives(record), radius).sum(1) == 1)


def rejection_rate(record: Record, radius: float) -> Interval:
    """Return the fraction for which nothing is certified."""
    return _share(certified_set(alternatives(record), radius).sum(1) == 0)


def mean_certified_size(record: Record, radius: float, which: Which = "smallest") -> float:
    """Average the size of the certified sets, without the rejected; NaN if all are."""
    sizes = certified_set(alternatives(record), radius, which).sum(1)
    return float(sizes[sizes > 0].mean()) if bool((sizes > 0).any()) else float("nan")


def by_size(record: Record, radius: float, which: Which = "smallest") -> pd.DataFrame:
    """Stratify by the size of the certified set; size 0 is the rejected.

    Returns:
        one row a size that occurs: `size`, `count`, `right` (sets that hold the label), and of
        these the fraction `value` among the sets of this size, with `low` and `high`.
    """
    found = alternatives(record)
    chosen = certified_set(found, radius, which)
    sizes, right = chosen.sum(1), _holds(chosen, found.labels)
    rows = []
    for size in np.unique(sizes).tolist():
        held = right[sizes == size]
        among = interval(int(held.sum()), len(held))
        rows.append({"size": size, "count": len(held), "right": int(held.sum()), **vars(among)})
    return pd.DataFrame(rows)


def radii_of_size(record: Record, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each example the certified radius of its set of this size, 0 if there is none.

    Returns:
        radii `[N]` of the sets, and the same with 0 where the set does not hold the label.
    """
    found = alternatives(record)
    asked = np.where(found.members.sum(2) == size, found.radii, 0.0)
    place = np.arange(len(asked)), asked.argmax(1)
    held = _holds(found.members[place], found.labels)
    return asked[place], np.where(held, asked[place], 0.0)


def sizes_of(record: Record) -> list[int]:
    """List the sizes of the alternatives that are available somewhere."""
    sizes = np.unique(alternatives(record).members.sum(2))
    return [int(size) for size in sizes if size > 0]


def radius_curves(record: Record, radii: np.ndarray) -> pd.DataFrame:
    """Return one row a size k and radius: how many sets of k are certified, and hold the label.

    Returns:
        `size`, `radius`, `certified` (fraction of all examples), and `value`, `low`, `high`: the
        fraction that is certified and holds the label.
    """
    rows = []
    for size in sizes_of(record):
        every, right = radii_of_size(record, size)
        for radius in radii.tolist():
            certified = float(((every > 0) & (every >= radius)).mean())
            held = _share((right > 0) & (right >= radius))
            rows.append({"size": size, "radius": radius, "certified": certified, **vars(held)})
    return pd.DataFrame(rows)


def composition(record: Record, radii: np.ndarray) -> pd.DataFrame:
    """Part the examples at each radius by the size of their smallest certified set.

    Returns:
        one row a radius: `radius`, a column for each size k that occurs anywhere ("1", "2", ...:
        the fraction whose smallest certified set has k members and holds the label), `wrong` (it
        does not hold the label) and `rejected`. Without `radius` a row sums to 1.
    """
    found, sizes, rows = alternatives(record), sizes_of(record), []
    for radius in radii.tolist():
        chosen = certified_set(found, radius)
        size, right = chosen.sum(1), _holds(chosen, found.labels)
        held = {str(k): float(((size == k) & right).mean()) for k in sizes}
        wrong = float((~right & (size > 0)).mean())
        rows.append({"radius": radius, **held, "wrong": wrong, "rejected": (size == 0).mean()})
    return pd.DataFrame(rows)


def class_matrix(record: Record, radius: float, which: Which = "smallest") -> np.ndarray:
    """Count how often two outcomes stand in one certified set: symmetric `[O, O]`.

    The diagonal counts how often an outcome is in a certified set at all.
    """
    chosen = certified_set(alternatives(record), radius, which).astype(int)
    return chosen.T @ chosen


def label_matrix(record: Record, radius: float, which: Which = "smallest") -> np.ndarray:
    """Return the fraction of the examples of a label whose certified set holds an outcome: `[C,
    O]`.

    The diagonal is the VRA of each class, strict or relaxed; NaN for a label that does not occur.
    """
    found = alternatives(record)
    chosen = certified_set(found, radius, which)
    rows = np.full((found.classes, chosen.shape[1]), np.nan)
    for label in np.unique(found.labels).tolist():
        rows[label] = chosen[found.labels == label].mean(0)
    return rows


def gained(record: Record, radius: float) -> Interval:
    """Return the fraction that sets add to local VRA: strict, not local. What relaxation is worth.

    Both figures are of the same classifier, so this is a fraction of examples and not a difference
    of two fractions: its interval is exact.
    """
    return _share(label_inside(record, radius) & ~label_alone(record, radius))


def _holds(chosen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return chosen[np.arange(len(labels)), labels]


def _share(flags: np.ndarray) -> Interval:
    return fraction(pd.Series(flags))
