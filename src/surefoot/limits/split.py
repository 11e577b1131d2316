"""The three parts of the points: search, calibrate, report."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from surefoot.streams import generator

Rows = Int[Tensor, "_"]

LEAST = {"search": 2, "calibrate": 1, "report": 2}
"""Rows that a part must have."""


class Parts(NamedTuple):
    """Row numbers; `calibrate` None: no calibration."""

    search: Rows
    calibrate: Rows | None
    report: Rows


def split(
    count: int,
    search: Rows | np.ndarray | None,
    calibrate: Rows | np.ndarray | None,
    report: Rows | np.ndarray | None,
    seed: int,
) -> Parts:
    """Fill in the parts that are not given; the parts never overlap.

    All None: one half, one quarter, one quarter. `calibrate` alone: the rest in two halves. One of
    search and report: the other is the rest. Both: no row is added, and without `calibrate`
    nothing is calibrated.
    """
    if search is None and calibrate is None and report is None:
        order = torch.randperm(count, generator=generator(seed, 0))
        search, calibrate, report = order.tensor_split([count // 2, count - count // 4])
        return Parts(search, calibrate if len(calibrate) else None, report)
    given = {
        name: None if part is None else checked_rows(part, name, count)
        for name, part in (("search", search), ("calibrate", calibrate), ("report", report))
    }
    search, calibrate, report = given.values()
    rest = _unused(given, count)
    if search is None and report is None:
        order = rest[torch.randperm(len(rest), generator=generator(seed, 0))]
        search, report = order.tensor_split(2)
    search, report = rest if search is None else search, rest if report is None else report
    parts = Parts(search, calibrate, report)
    for name, part in parts._asdict().items():
        if part is not None and len(part) < LEAST[name]:
            raise ValueError(
                f"`{name}` must hold at least {LEAST[name]} row numbers; found {len(part)} rows"
            )
    return parts


def checked_rows(part: Rows | np.ndarray, name: str, count: int) -> Rows:
    """Return row numbers as int64, from whole numbers of any kind; a mask is named."""
    rows = torch.as_tensor(part)
    if rows.ndim != 1 or rows.dtype == torch.bool or rows.is_floating_point():
        raise ValueError(
            f"`{name}` must hold row numbers, whole and in one dimension; found shape"
            f" {tuple(rows.shape)}, {rows.dtype}. A mask converts with mask.nonzero().flatten()"
            " (torch) or np.flatnonzero(mask)"
        )
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise ValueError(
            f"`{name}` must hold row numbers in [0, {count - 1}]; found"
            f" {int(rows.min())} to {int(rows.max())}"
        )
    return rows.long().cpu()


def _unused(given: dict[str, Rows | None], count: int) -> Rows:
    """Return the rows in no part, after a check that no row is used twice."""
    uses = torch.zeros(count, dtype=torch.int64)
    for part in given.values():
        if part is None or len(part) == 0:
            continue
        uses.index_add_(0, part, torch.ones(len(part), dtype=torch.int64))
    if int(uses.max()) > 1:
        raise ValueError(
            "`search`, `calibrate` and `report` must hold each row at most once, in one of them"
        )
    return (uses == 0).nonzero().squeeze(1)
