"""Neighbours of points, exact and in little memory: the nearest of another class, and close pairs.

Fast arithmetic only leaves out pairs that cannot matter: in l2 by matrix products in float32 with
their rounding bounded, in linf by the coordinates of largest variance. The rest is measured in
float64. Holds if torch multiplies float32 in full precision (its default).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surefoot.progress import track
from surefoot.threat import Norm
from surefoot.types import Labels, PerExample, Points

ROWS = 256
"""Points compared with all others at once: the largest array is `[ROWS, N]`."""
PAIRS = 2048
"""Pairs measured at once: they fit in the cache."""
FIRST, LIKELY = 128, 64
"""Coordinates that bound linf distances from below; pairs a row measured to beat such bounds."""
SLACK = 1e-6
"""A linf distance must be shorter by this fraction to count as shorter: above float32 rounding, so
that the many ties of images with few grey levels need not be measured."""
SAFE = 1e-10
"""Relative rounding of a distance in float64, with a margin."""
MOST = 20_000_000
"""Close pairs that are kept: a few hundred megabytes."""
TILE = 1024
"""Columns compared at once: a tile stays in the cache."""
NOISE = 1e-14
"""Squared distances below this fraction of the squared norms are the round-off of equal points."""

Rows = Int[Tensor, "_"]
Pairs = tuple[Rows, Rows]
"""(places in some rows, points)"""
Candidates = Callable[[Rows, Bool[Tensor, "R N"]], Pairs]
"""(rows, which pairs matter) -> pairs that fast arithmetic does not rule out."""
Length = Callable[[Tensor, Tensor], Tensor]
"""(points `[P, D]`, points `[P, D]`) -> distances `[P]`."""


@dataclass(frozen=True)
class Nearest:
    """What lies nearest to each point among the points of other classes.

    Attributes:
        distance: to it, float64.
        index: of it.
    """

    distance: PerExample
    index: Labels


def nearest_other_class(points: Points, labels: Labels, *, norm: Norm) -> Nearest:
    r"""Find the nearest point of another class for each point.

    $$ d_i = \min_{j : y_j \ne y_i} \lVert x_i - x_j \rVert $$
    In l2 distances and winners are those of brute force, ties go to the lowest index; in linf a
    point that is nearer by less than a millionth may be passed over.

    Args:
        points: flat points; uint8 images as floats.
        labels: classes.
        norm: of the distance.

    Raises:
        ValueError: only one class.

    Example:
        >>> found = nearest_other_class(
        ...     torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]), norm="l2"
        ... )
        >>> found.distance.tolist(), found.index.tolist()
        ([3.0, 2.0, 2.0], [2, 2, 1])
    """
    if norm not in ("l2", "linf"):
        raise ValueError(f'`norm` must be "l2" or "linf"; found {norm!r}')
    if len(points) != len(labels) or bool((labels == labels[:1]).all()):
        raise ValueError(
            f"need one label a point and two classes; found {len(points)} points,"
            f" {len(labels)} labels of {len(labels.unique())} classes"
        )
    candidates = _nearest_l2(points) if norm == "l2" else _nearest_linf(points)
    blocks = torch.arange(len(points), device=points.device).split(ROWS)
    found = []
    for rows in track(blocks, f"nearest of another class, {norm}", len(blocks)):
        foreign = labels[rows].unsqueeze(1) != labels
        near, other = candidates(rows, foreign)
        lengths = _measured(points, (rows[near], other), _exactly(norm))
        found.append(_least(near, other, lengths, len(rows)))
    return Nearest(*map(torch.cat, zip(*found, strict=True)))


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
    wanted: Callable[[Rows, Rows], Tensor] | None = None,
    most: int = MOST,
) -> Close:
    """List the pairs i < j that are equal, or at most `reach - margin` apart whatever is rounded.

    Pairs whose distance rounding leaves open are not listed, and make `whole` false.

    Args:
        points: flat points `[N, D]`.
        reach: in the units of the points, at least 0.
        norm: of the distance.
        margin: by which a pair must be closer than `reach`.
        wanted: maps rows `[R]` and points `[N]` to which pairs matter `[R, N]`; None: all.
        most: stop after so many.
    """
    candidates = _close_l2(points, reach) if norm == "l2" else _close_linf(points, reach)
    everyone = torch.arange(len(points), device=points.device)
    found, total, whole = [torch.empty(0, 2, dtype=torch.long)], 0, True
    blocks = everyone.split(ROWS)
    for rows in track(blocks, f"close pairs, {norm}", len(blocks)):
        matters = rows.unsqueeze(1) < everyone
        if wanted is not None:
            matters &= wanted(rows, everyone)
        near, other = candidates(rows, matters)
        near = rows[near]
        distance = _measured(points, (near, other), _exactly(norm))
        close = (distance == 0) | (distance * (1 + SAFE) <= reach - margin)
        whole &= not bool((~close & (distance * (1 - SAFE) <= reach)).any())
        found.append(torch.stack([near[close], other[close]], 1).cpu())
        total += len(found[-1])
        if total > most:
            return Close(torch.cat(found)[:most], False)
    return Close(torch.cat(found), whole)


def chebyshev(block: Float[Tensor, "R K"], columns: Float[Tensor, "K N"]) -> Float[Tensor, "R N"]:
    """Return the largest difference over the coordinates, tile by tile, within the cache."""
    tiles = []
    for tile in columns.split(TILE, dim=1):
        apart, gap = block.new_zeros(2, len(block), tile.shape[1])
        for own, others in zip(block.T.contiguous().unsqueeze(2), tile, strict=True):
            torch.maximum(apart, torch.sub(own, others, out=gap).abs_(), out=apart)
        tiles.append(apart)
    return torch.cat(tiles, 1)


def euclidean(
    block: Float[Tensor, "R K"], columns: Float[Tensor, "K N"], squares: Float[Tensor, " N"]
) -> Float[Tensor, "R N"]:
    r"""Return the distances by one matrix product; `squares` are the squared norms of the columns.

    $$ \lVert a - b \rVert^2 = \lVert a \rVert^2 + \lVert b \rVert^2 - 2 a \cdot b $$
    Error: about 1e-8 of the norms in float64; distances below 1e-7 of them count as 0. Move the
    origin to the mean first: it makes the norms small.
    """
    norms = block.square().sum(1, keepdim=True) + squares
    squared = torch.addmm(norms, block, columns, alpha=-2)
    return squared.masked_fill_(squared <= NOISE * norms, 0.0).sqrt_()


def _products(points: Points) -> Callable[[Rows], tuple[Tensor, Tensor]]:
    """Return a function from rows to square distances `[R, N]` and a bound of their error `[R]`.

    Both sums and the product of D terms are off by less than (D + 8) u (|a| + |b|)^2, u the
    rounding unit; moving the origin to the mean makes the lengths, and so the error, small.
    """
    centred = (points.double() - points.double().mean(0)).float()
    squares = centred.double().square().sum(1)
    unit = (points.shape[1] + 8) * torch.finfo(torch.float32).eps / 2
    longest = squares.amax().sqrt()

    def multiplied(rows: Rows) -> tuple[Tensor, Tensor]:
        about = torch.addmm(squares.float(), centred[rows], centred.T, alpha=-2)
        about += squares[rows].float().unsqueeze(1)
        return about, 2 * unit * (squares[rows].sqrt() + longest) ** 2

    return multiplied


def _nearest_l2(points: Points) -> Candidates:
    """Keep pairs whose square distance, as multiplied out, is within rounding of the least."""
    multiplied = _products(points)

    def candidates(rows: Rows, foreign: Tensor) -> Pairs:
        about, error = multiplied(rows)
        about.masked_fill_(~foreign, torch.inf)
        return _pairs(about <= (about.amin(1) + error.float()).unsqueeze(1))

    return candidates


def _close_l2(points: Points, reach: float) -> Candidates:
    """Keep pairs whose square distance, as multiplied out, is within rounding of the reach."""
    multiplied = _products(points)

    def candidates(rows: Rows, matters: Tensor) -> Pairs:
        about, error = multiplied(rows)
        limit = (reach * reach + error).float() * (1 + 1e-6)
        return _pairs(matters & (about <= limit.unsqueeze(1)))

    return candidates


def _nearest_linf(points: Points) -> Candidates:
    """Keep pairs that no coordinate of large variance parts by more than a pair measured in full.

    A bound is the largest difference over the first coordinates. A few pairs of small bound are
    measured; what exceeds the least of them is out. Survivors are bounded by more coordinates.
    """
    ordered = points[:, points.var(0).argsort(descending=True)].contiguous()
    first, more = ordered[:, :FIRST], ordered[:, FIRST : 3 * FIRST].contiguous()
    columns = first.T.contiguous()

    def candidates(rows: Rows, foreign: Tensor) -> Pairs:
        bounds = chebyshev(first[rows], columns).masked_fill_(~foreign, torch.inf)
        limit, best = _to_beat(ordered, rows, bounds)
        near, other = _pairs(bounds < limit.unsqueeze(1))
        for part in (more, ordered) if more.shape[1] else ():
            open_ = _measured(part, (rows[near], other), _roughly) < limit[near]
            near, other = near[open_], other[open_]
        places = torch.arange(len(rows), device=rows.device)
        return torch.cat([places, near]), torch.cat([best, other])

    return candidates


def _close_linf(points: Points, reach: float) -> Candidates:
    """Keep pairs that no coordinate of large variance parts by more than the reach."""
    order = points.var(0, correction=0).argsort(descending=True)
    # Centred, so that float32 keeps the digits of coordinates that are large and alike.
    centred = points.double() - points.double().mean(0)
    first = centred[:, order[:FIRST]].float()
    more = centred[:, order[FIRST : 4 * FIRST]].float()
    rounding = 8 * torch.finfo(torch.float32).eps * centred.abs().amax().item()
    columns, limit = first.T.contiguous(), reach * (1 + 1e-5) + rounding

    def candidates(rows: Rows, matters: Tensor) -> Pairs:
        near, other = _pairs(matters & (chebyshev(first[rows], columns) <= limit))
        if more.shape[1]:
            open_ = _measured(more, (rows[near], other), _roughly) <= limit
            near, other = near[open_], other[open_]
        return near, other

    return candidates


def _to_beat(points: Points, rows: Rows, bounds: Tensor) -> tuple[Tensor, Rows]:
    """Measure the pairs of least bound; return what a nearer pair must beat, and their nearest."""
    likely = bounds.topk(min(LIKELY, bounds.shape[1]), largest=False)
    pairs = rows.repeat_interleave(likely.indices.shape[1]), likely.indices.flatten()
    lengths = _measured(points, pairs, _roughly).view(likely.indices.shape)
    least = lengths.masked_fill(likely.values.isinf(), torch.inf).min(1)
    best = likely.indices.gather(1, least.indices.unsqueeze(1)).squeeze(1)
    return least.values * (1 - SLACK), best


def _pairs(flags: Bool[Tensor, "R N"]) -> Pairs:
    near, other = flags.nonzero(as_tuple=True)
    return near, other


def _roughly(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs_().amax(1)


def _exactly(norm: Norm) -> Length:
    order = 2 if norm == "l2" else torch.inf
    return lambda one, other: torch.linalg.vector_norm(one.double() - other.double(), order, dim=1)


def _measured(points: Points, pairs: Pairs, length: Length) -> Tensor:
    """Measure pairs, some at a time."""
    parts = zip(*(side.split(PAIRS) for side in pairs), strict=True)
    return torch.cat([length(points[one], points[other]) for one, other in parts])


def _least(near: Tensor, other: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the least length of each row and the lowest index that has it."""
    least = lengths.new_full((count,), torch.inf).scatter_reduce(0, near, lengths, "amin")
    winner = lengths == least[near]
    index = torch.full_like(least, torch.iinfo(torch.int64).max, dtype=torch.int64)
    return least, index.scatter_reduce(0, near[winner], other[winner], "amin")
