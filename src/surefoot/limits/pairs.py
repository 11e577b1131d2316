"""All pairs of points within a distance: exact, chunked, for tens of thousands of points."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.limits.distances import chebyshev
from surefoot.progress import track
from surefoot.threat import Norm
from surefoot.types import Points

ROWS = 256
"""Points compared with all others at once."""
MEASURED = 8192
"""Pairs measured at once."""
FIRST = 128
"""Coordinates of largest variance that bound linf distances from below."""
SAFE = 1e-10
"""Relative rounding of a distance in float64, with room."""
MOST = 20_000_000
"""Pairs that are kept: a few hundred megabytes."""
Wanted = Callable[[Tensor, Tensor], Tensor]
"""(rows `[R]`, points `[N]`) -> which pairs matter `[R, N]`."""


class Close(NamedTuple):
    """Pairs within a distance.

    Args:
        pairs: int64 `[P, 2]`, i < j.
        whole: they are all: none was left out for want of memory, and none lies in the margin.
    """

    pairs: Tensor
    whole: bool


def close_pairs(
    points: Points,
    reach: float,
    norm: Norm,
    *,
    margin: float = 0.0,
    wanted: Wanted | None = None,
    most: int = 20_000_000,
) -> Close:
    """List the pairs i < j that are equal, or at most `reach - margin` apart whatever is rounded.

    Fast arithmetic only leaves out pairs that are farther for certain; the rest is measured in
    float64. Pairs between the two verdicts are not listed, but tell in `whole`.

    Args:
        points: flat points `[N, D]`.
        reach: in the units of the points, at least 0.
        norm: of the distance.
        margin: by which a pair must be closer than `reach`.
        wanted: pairs that matter; None: all.
        most: stop after so many.
    """
    candidates = _l2(points, reach) if norm == "l2" else _linf(points, reach)
    everyone = torch.arange(len(points), device=points.device)
    order = 2 if norm == "l2" else torch.inf
    found, total, whole = [], 0, True
    blocks = everyone.split(ROWS)
    for rows in track(blocks, f"close pairs, {norm}", len(blocks)):
        matters = rows.unsqueeze(1) < everyone
        if wanted is not None:
            matters &= wanted(rows, everyone)
        near, other = candidates(rows, matters)
        for one, two in zip(near.split(MEASURED), other.split(MEASURED), strict=True):
            gap = points[rows[one]].double() - points[two].double()
            distance = torch.linalg.vector_norm(gap, order, dim=1)
            close = (distance == 0) | (distance * (1 + SAFE) <= reach - margin)
            whole &= not bool((~close & (distance * (1 - SAFE) <= reach)).any())
            found.append(torch.stack([rows[one[close]], two[close]], 1).cpu())
            total += len(found[-1])
        if total > most:
            return Close(torch.cat(found)[:most], False)
    return Close(torch.cat(found) if found else torch.empty(0, 2, dtype=torch.long), whole)


Candidates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(rows, which pairs matter) -> pairs (place in rows, point) that may be close."""


def _l2(points: Points, reach: float) -> Candidates:
    """Keep pairs whose square distance, as multiplied out, is within rounding of the reach."""
    centred = (points.double() - points.double().mean(0)).float()
    squares = centred.double().square().sum(1)
    unit = (points.shape[1] + 8) * torch.finfo(torch.float32).eps / 2
    longest = squares.amax().sqrt()

    def search(rows: Tensor, matters: Tensor) -> tuple[Tensor, Tensor]:
        about = torch.addmm(squares.float(), centred[rows], centred.T, alpha=-2)
        about += squares[rows].float().unsqueeze(1)
        error = 2 * unit * (squares[rows].sqrt() + longest) ** 2
        limit = (reach * reach + error).float() * (1 + 1e-6)
        near, other = (matters & (about <= limit.unsqueeze(1))).nonzero(as_tuple=True)
        return near, other

    return search


def _linf(points: Points, reach: float) -> Candidates:
    """Keep pairs that no coordinate of large variance parts by more than the reach."""
    order = points.var(0, correction=0).argsort(descending=True)
    # Centred, so that float32 keeps the digits of coordinates that are large and alike.
    centred = points.double() - points.double().mean(0)
    first = centred[:, order[:FIRST]].float()
    more = centred[:, order[FIRST : 4 * FIRST]].float()
    rounding = 8 * torch.finfo(torch.float32).eps * centred.abs().amax().item()
    columns, limit = first.T.contiguous(), reach * (1 + 1e-5) + rounding

    def search(rows: Tensor, matters: Tensor) -> tuple[Tensor, Tensor]:
        bounds = chebyshev(first[rows], columns)
        near, other = (matters & (bounds <= limit)).nonzero(as_tuple=True)
        if not more.shape[1] or not len(near):
            return near, other
        kept = [
            (more[rows[one]] - more[two]).abs().amax(1) <= limit
            for one, two in zip(near.split(MEASURED), other.split(MEASURED), strict=True)
        ]
        open_ = torch.cat(kept)
        return near[open_], other[open_]

    return search
