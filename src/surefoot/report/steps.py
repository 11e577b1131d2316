"""The two curves of the bracket as exact step functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.evaluation.record import Record

MOST_STEPS = 400
"""More certified radii than this are thinned out; the thinned curve lies below the full one."""
WIDEST = 1e6
"""No axis shows more: a figure cannot place larger radii, and no box of pixels is as wide."""


@dataclass(frozen=True)
class Steps:
    """Two step curves on common intervals `(edges[i], edges[i + 1])`.

    Args:
        edges: increasing, from 0.
        certified: examples certified on the whole interval; None without a certificate.
        attacked: examples unbroken at every tested radius up to its left end, so an upper bound
            on the whole interval.
        count: examples in all.
    """

    edges: np.ndarray
    certified: np.ndarray | None
    attacked: np.ndarray
    count: int


def steps(record: Record, largest: float) -> Steps:
    """Return both curves of a record between radius 0 and `largest`."""
    rows = record.rows
    clean = rows["clean"].to_numpy(bool)
    certified = np.nan_to_num(rows["certified"].to_numpy(float), nan=0.0, posinf=np.inf)
    certified = np.where(clean, certified, 0.0)
    attacked = np.where(clean, rows["attacked"].to_numpy(float), 0.0)
    knots = np.unique(certified[(certified > 0) & (certified < largest)])
    if len(knots) > MOST_STEPS:
        knots = knots[np.linspace(0, len(knots) - 1, MOST_STEPS).astype(int)]
    tested = [radius for radius in record.header.radii if 0 < radius < largest]
    edges = np.unique(np.concatenate([[0.0], knots, tested, [largest]]))
    proven = None if rows["certified"].isna().all() else _at_least(certified, edges[1:])
    return Steps(edges, proven, _above(attacked, edges[:-1]), len(rows))


def extent(records: Sequence[Record]) -> float:
    """Return the right end of the radius axis: a little more than the largest tested radius."""
    largest = max(radius for record in records for radius in record.header.radii)
    return 1.12 * min(largest, WIDEST) if largest > 0 else 1.0


def _at_least(radii: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return len(radii) - np.searchsorted(np.sort(radii), edges, side="left")


def _above(radii: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return len(radii) - np.searchsorted(np.sort(radii), edges, side="right")
