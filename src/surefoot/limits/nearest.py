"""How far each point is from the nearest point of another class: exact, and in little memory.

Half of the smallest such distance is the largest radius at which balls of different labels do not
meet. Not here: how many conflicts a radius brings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surefoot.limits.distances import chebyshev
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

Rows = Int[Tensor, "P"]
Pair = tuple[Rows, Rows]
PerRow = Float[Tensor, "R"]


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
    Fast arithmetic only leaves pairs out that cannot win: in l2 by matrix products in float32 with
    their rounding bounded, in linf by the coordinates of largest variance. The rest is measured in
    float64. In l2 distances and winners are those of brute force, ties go to the lowest index; in
    linf a point that is nearer by less than a millionth may be passed over.
    Holds if torch multiplies float32 in full precision (its default).

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
    search = _l2(points) if norm == "l2" else _linf(points)
    blocks = torch.arange(len(points), device=points.device).split(ROWS)
    found = []
    for rows in track(blocks, f"nearest of another class, {norm}", len(blocks)):
        foreign = labels[rows].unsqueeze(1) != labels
        near, other = search(rows, foreign)
        lengths = _measured(points, (rows[near], other), _exactly(norm))
        found.append(_least(near, other, lengths, len(rows)))
    return Nearest(*map(torch.cat, zip(*found, strict=True)))


Search = Callable[[Rows, Bool[Tensor, "P N"]], Pair]
"""(rows, which points are of another class) -> pairs (place in rows, point) that may be nearest."""


def _l2(points: Points) -> Search:
    """Keep pairs whose square distance, as multiplied out, is within rounding of the least.

    Both sums and the product of D terms are off by less than (D + 8) u (|a| + |b|)^2, u the
    rounding unit; moving the origin to the mean makes the lengths, and so the error, small.
    """
    centred = (points.double() - points.double().mean(0)).float()
    squares = centred.double().square().sum(1)
    unit = (points.shape[1] + 8) * torch.finfo(torch.float32).eps / 2
    longest = squares.amax().sqrt()

    def search(rows: Tensor, foreign: Tensor) -> Pair:
        block = centred[rows]
        about = torch.addmm(squares.float(), block, centred.T, alpha=-2)
        about += squares[rows].float().unsqueeze(1)
        about.masked_fill_(~foreign, torch.inf)
        error = unit * (squares[rows].sqrt() + longest) ** 2
        limit = about.amin(1) + 2 * error.float()
        return _pairs(about <= limit.unsqueeze(1))

    return search


def _linf(points: Points) -> Search:
    """Keep pairs that no coordinate of large variance parts by more than a pair measured in full.

    A bound is the largest difference over the first coordinates. A few pairs of small bound are
    measured; what exceeds the least of them is out. Survivors are bounded by more coordinates.
    """
    ordered = points[:, points.var(0).argsort(descending=True)].contiguous()
    first, more = ordered[:, :FIRST], ordered[:, FIRST : 3 * FIRST].contiguous()
    columns = first.T.contiguous()

    def search(rows: Tensor, foreign: Tensor) -> Pair:
        bounds = chebyshev(first[rows], columns).masked_fill_(~foreign, torch.inf)
        reach, best = _reach(ordered, rows, bounds)
        near, other = _pairs(bounds < reach.unsqueeze(1))
        for part in (more, ordered) if more.shape[1] else ():
            open_ = _measured(part, (rows[near], other), _roughly) < reach[near]
            near, other = near[open_], other[open_]
        places = torch.arange(len(rows), device=rows.device)
        return torch.cat([places, near]), torch.cat([best, other])

    return search


def _reach(points: Points, rows: Tensor, bounds: Tensor) -> tuple[PerRow, Rows]:
    """Measure the pairs of least bound; give what a nearer pair must beat, and their nearest."""
    likely = bounds.topk(min(LIKELY, bounds.shape[1]), largest=False)
    pairs = rows.repeat_interleave(likely.indices.shape[1]), likely.indices.flatten()
    lengths = _measured(points, pairs, _roughly).view(likely.indices.shape)
    least = lengths.masked_fill(likely.values.isinf(), torch.inf).min(1)
    best = likely.indices.gather(1, least.indices.unsqueeze(1)).squeeze(1)
    return least.values * (1 - SLACK), best


def _pairs(flags: Bool[Tensor, "R N"]) -> Pair:
    near, other = flags.nonzero(as_tuple=True)
    return near, other


Length = Callable[[Tensor, Tensor], Tensor]
"""(points `[P, D]`, points `[P, D]`) -> distances `[P]`."""


def _roughly(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs_().amax(1)


def _exactly(norm: Norm) -> Length:
    order = 2 if norm == "l2" else torch.inf
    return lambda one, other: torch.linalg.vector_norm(one.double() - other.double(), order, dim=1)


def _measured(points: Points, pairs: Pair, length: Length) -> Tensor:
    """Measure pairs, some at a time."""
    parts = zip(*(side.split(PAIRS) for side in pairs), strict=True)
    return torch.cat([length(points[one], points[other]) for one, other in parts])


def _least(near: Tensor, other: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the least length of each row and the lowest index that has it."""
    least = lengths.new_full((count,), torch.inf).scatter_reduce(0, near, lengths, "amin")
    winner = lengths == least[near]
    index = torch.full_like(least, torch.iinfo(torch.int64).max, dtype=torch.int64)
    return least, index.scatter_reduce(0, near[winner], other[winner], "amin")
