"""Unions of norm balls, and a greedy search for one that covers much and expands little.

A ball in l2 is the family "balls", a ball in linf the family "cubes". The search: Mahloujifar,
Zhang, Mahmoody, Evans, NeurIPS 2019, Algorithm 2, with the label uncertainty of Zhang, Evans, ICLR
2022. A heuristic: the best union may be better than the one found.

Shape letters: N points, C of them centres, all unless told otherwise, B of them at once; W nearest
neighbours that can lie on the border of a ball.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.limits.goal import ROUNDING, Goal
from surefoot.limits.neighbours import chebyshev, euclidean
from surefoot.limits.regions import (
    IMPOSSIBLE,
    Covered,
    Fit,
    Inside,
    by_blocks,
    least_expanded,
    running_sums,
    sorted_rows,
)
from surefoot.limits.split import Rows
from surefoot.progress import track
from surefoot.types import Points

GAP = 1e-6
"""A ball ends this much before the next neighbour, as large as it can be."""

ENTRIES = 2**21
"""Numbers held at once in each temporary."""

SINGLE = 2.0
"""Coordinates up to this size differ by less than GAP / 2 between float32 and float64."""

WIDER = 2
"""Neighbours kept, in units of the first budget: calibration may raise it."""


@dataclass(frozen=True)
class Balls:
    r"""The union of closed balls around `centres`.

    $$ E = \bigcup_t \{x : \lVert x - u_t \rVert \le r_t\} $$

    Attributes:
        centres: float64, flat points.
        radii: one for each centre.
        norm: "l2" (balls) or "linf" (cubes).
    """

    centres: Float[Tensor, "T D"]
    radii: Float[Tensor, " T"]
    norm: Literal["l2", "linf"]

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; distances in float64, a NaN lies outside."""
        return by_blocks(self._inside, points)

    def expand(self, eps: float) -> "Balls":
        r"""Return all points within `eps` of the region, exactly.

        $$ \mathrm{Ball}(u, r)_\varepsilon = \mathrm{Ball}(u, r + \varepsilon) $$
        """
        return replace(self, radii=self.radii + eps)

    def _inside(self, block: Tensor) -> Tensor:
        order = 2 if self.norm == "l2" else torch.inf
        inside = torch.zeros(len(block), dtype=torch.bool, device=block.device)
        for centre, radius in zip(self.centres, self.radii, strict=True):
            inside |= torch.linalg.vector_norm(block.double() - centre, order, dim=1) <= radius
        return inside


class _Metric(NamedTuple):
    """The centred points, ready to be measured."""

    norm: str
    rows: Tensor  # [N, D]
    columns: Tensor  # [D, N]
    squares: Tensor  # [N], not used by linf

    def to_all(self, rows: Tensor | slice) -> Tensor:
        """Measure some points against all of them."""
        if self.norm == "linf":
            return chebyshev(self.rows[rows], self.columns)
        return euclidean(self.rows[rows], self.columns, self.squares)


class _Tables(NamedTuple):
    """The neighbourhood of each centre, nearest first; column j is the ball before neighbour j."""

    border: Tensor  # [C, W] distances
    near: Tensor  # [C, W] int32, which points
    inside: Tensor  # [C, W] int32, how many of them lie in the ball
    reached: Tensor  # [C, W] int32, how many of all points lie in its expansion


class _Candidate(NamedTuple):
    cost: int
    centre: int
    radius: float


@dataclass(frozen=True, kw_only=True)
class _Covered(Covered):
    gone: Tensor  # [C, W + 1], expanded points by the first ball whose expansion holds them

    @property
    def waste(self) -> int:
        """Count what the search makes small: points of the expansion alone."""
        return self.expanded - self.covered


@dataclass(frozen=True)
class _Prepared:
    """The points, and what is known of them before the first ball."""

    points: Tensor  # [N, D]
    uncertainty: Tensor  # [N]
    metric: _Metric
    tables: _Tables
    centres: Tensor  # [C], rows of the points that a ball may be grown around


def prepare(points: Tensor, uncertainty: Tensor, goal: Goal, centres: Rows | None = None) -> Fit:
    r"""Measure and sort all neighbours once; return the greedy search for balls or cubes.

    It covers a fraction `goal.risk` of the points by balls, each the cheapest next to those before
    it:
    $$ \min_{u, r}\; |\mathrm{Ball}(u, r + \varepsilon) \setminus E_\varepsilon| -
    |\mathrm{Ball}(u, r) \setminus E| $$
    over the centres u among the points and the radii r that add between ceil(left / components
    left) and `left` new points, where `left` completes risk * (1 + delta). Ties: the first centre,
    then the smallest ball. Then balls are swapped (`goal.swaps`): one is taken out, and the
    cheapest that covers as much is grown instead, as long as that leaves less expansion. Memory:
    24 N W bytes, W = 2 risk (1 + delta) N; no N x N table.

    Args:
        points: flat.
        uncertainty: of each point.
        goal: what the region must reach.
        centres: rows that a ball may be grown around, ascending; None: all.
    """
    metric = _metric(points, goal.norm)
    width = min(WIDER * goal.budget(len(points)) + 1, len(points))
    if centres is None:
        centres = torch.arange(len(points), device=points.device)
    tables = _tables(metric, centres, width, goal.eps)
    search = _Prepared(points, uncertainty, metric, tables, centres)

    def fit(goal: Goal) -> Balls | None:
        nonlocal search
        needed = min(goal.budget(len(points)) + 1, len(points))
        if needed > search.tables.near.shape[1]:
            wider = _tables(metric, centres, min(2 * needed, len(points)), goal.eps)
            search = replace(search, tables=wider)
        # A region that obeys component by component obeys as a union too: keep the better of both.
        both = goal.constraint == "union" and goal.gamma > 0
        tried = [
            _swapped(search, _cover(search, goal, shared), goal, shared)
            for shared in ((True, False) if both else (False,))
        ]
        best = least_expanded(tried, goal.needed(len(points)))
        return best and _region(best.components, points, goal)

    return fit


def _metric(points: Tensor, norm: str) -> _Metric:
    centred = points.double() - points.mean(0, dtype=torch.float64)
    if norm == "l2":
        return _Metric(norm, centred, centred.T, centred.square().sum(1))
    if float(centred.abs().amax()) <= SINGLE:
        centred = centred.float()
    return _Metric(norm, centred, centred.T.contiguous(), centred.new_zeros(len(centred)))


def _cover(search: _Prepared, goal: Goal, shared: bool) -> _Covered:
    """Add components until the budget is met; if `shared`, one may use what earlier ones spare."""
    count = len(search.points)
    everything = torch.ones(count, dtype=torch.bool, device=search.points.device)
    gone = torch.nn.functional.pad(torch.zeros_like(search.tables.near), (0, 1))
    progress = _Covered(everything, everything, gone=gone)
    for components_left in range(goal.components, 0, -1):
        left = goal.budget(count) - progress.covered
        # One point is not worth a component of its own, unless the risk needs it.
        if left <= 1 and progress.covered >= goal.needed(count):
            break
        best = _next(search, progress, (math.ceil(left / components_left), left), goal, shared)
        if best.cost == IMPOSSIBLE:
            break
        progress = _add(search, progress, best, goal)
    return progress


def _next(
    search: _Prepared, progress: _Covered, sizes: tuple[int, int], goal: Goal, shared: bool
) -> _Candidate:
    """Return the cheapest ball that adds a size in range; its cost says whether there is one."""
    over = search.uncertainty - goal.gamma
    spare = over[~progress.uncovered].sum().item() if shared else 0.0
    candidates = [
        _cheapest(search, block, sizes, progress, goal, spare)
        for block in _blocks(*search.tables.near.shape)
    ]
    return min(candidates, key=lambda candidate: candidate.cost)


def _swapped(search: _Prepared, progress: _Covered, goal: Goal, shared: bool) -> _Covered:
    """Swap balls one by one as long as a swap leaves less expansion and covers no less.

    Greedy balls do not know what comes after them; the first ones gain most.
    """
    if progress.covered < goal.needed(len(search.points)):
        return progress
    for _ in range(goal.swaps):
        before = progress.waste
        for _ in progress.components:
            progress = _swap(search, progress, goal, shared)
        if progress.waste == before:
            break
    return progress


def _swap(search: _Prepared, progress: _Covered, goal: Goal, shared: bool) -> _Covered:
    """Take the oldest ball out and grow the cheapest in its stead; keep the better of both."""
    oldest, *rest = progress.components
    without = _without(search, progress, tuple(rest), goal)
    needed = progress.covered - without.covered
    most = max(needed, goal.budget(len(search.points)) - without.covered)
    best = _next(search, without, (needed, most), goal, shared)
    if best.cost < progress.waste - without.waste:
        return _add(search, without, best, goal)
    return _add(search, without, oldest, goal)


def _without(
    search: _Prepared, progress: _Covered, rest: tuple[_Candidate, ...], goal: Goal
) -> _Covered:
    """Keep the other balls: what none of them expands to counts again."""
    points = search.points
    nothing = torch.zeros_like(progress.uncovered)
    region = _region(rest, points, goal) if rest else None
    covered = region.contains(points) if region else nothing
    expanded = region.expand(goal.eps).contains(points) if region else nothing
    again = expanded ^ ~progress.unexpanded
    gone = _counted(search, progress.gone, again, goal, -1)
    return _Covered(~covered, ~expanded, rest, gone=gone)


def _add(search: _Prepared, progress: _Covered, component: _Candidate, goal: Goal) -> _Covered:
    """Take the component; what it expands to counts no more for any ball."""
    region = _region((component,), search.points, goal)
    fresh = progress.unexpanded & region.expand(goal.eps).contains(search.points)
    return _Covered(
        progress.uncovered & ~region.contains(search.points),
        progress.unexpanded & ~fresh,
        (*progress.components, component),
        gone=_counted(search, progress.gone, fresh, goal, 1),
    )


def _counted(search: _Prepared, gone: Tensor, which: Inside, goal: Goal, by: int) -> Tensor:
    """Count points to (1) or off (-1) the expanded ones of every ball, in place."""
    ends = search.tables.border + (goal.eps - GAP)
    for rows in which.nonzero().squeeze(1).split(max(1, ENTRIES // len(which))):
        apart = search.metric.to_all(rows)[:, search.centres].T.contiguous()
        first = torch.searchsorted(ends, apart)
        gone.scatter_add_(1, first, torch.full_like(first, by, dtype=torch.int32))
    return gone


def _region(components: tuple[_Candidate, ...], points: Tensor, goal: Goal) -> Balls:
    centres = points[[component.centre for component in components]].double()
    return Balls(
        centres, centres.new_tensor([component.radius for component in components]), goal.norm
    )


def _blocks(count: int, width: int) -> Iterator[slice]:
    rows = max(1, ENTRIES // width)
    return (slice(start, start + rows) for start in range(0, count, rows))


def _tables(metric: _Metric, centres: Rows, width: int, eps: float) -> _Tables:
    count = len(centres)
    # Filled in place: blocks kept apart until the end would leave holes of several GB in the heap.
    integers = metric.rows.new_empty(3, count, width, dtype=torch.int32)
    tables = _Tables(metric.rows.new_empty(count, width), *integers)
    blocks = list(_blocks(count, len(metric.rows)))
    for block in track(blocks, "neighbours", len(blocks)):
        for whole, part in zip(
            tables, _table(metric.to_all(centres[block]), width, eps), strict=True
        ):
            whole[block] = part
    return tables


def _table(distances: Tensor, width: int, eps: float) -> _Tables:
    near = distances.topk(width, largest=False).indices.int()
    ordered = sorted_rows(distances)
    border = ordered[:, :width].contiguous()
    inside = torch.searchsorted(border, border - GAP, right=True, out_int32=True)
    reached = torch.searchsorted(ordered, border + (eps - GAP), right=True, out_int32=True)
    return _Tables(border, near, inside, reached)


def _cheapest(
    search: _Prepared,
    block: slice,
    sizes: tuple[int, int],
    progress: _Covered,
    goal: Goal,
    spare: float,
) -> _Candidate:
    """Try all balls of these centres that add a size in range; the first of the cheapest wins."""
    border, near, inside, reached = (table[block] for table in search.tables)
    new = running_sums(progress.uncovered.int(), near)
    places = inside + (new.shape[1] * torch.arange(len(new), device=new.device)).int().unsqueeze(1)
    gained = new.flatten().index_select(0, places.flatten()).view(inside.shape)
    grown = reached - progress.gone[block, :-1].cumsum(1, dtype=torch.int32)
    # The ball before neighbour j adds those of its j predecessors that are uncovered.
    allowed = (new[:, 1:] > new[:, :-1]) & (gained > 0)
    allowed &= (new[:, :-1] >= sizes[0]) & (new[:, :-1] <= sizes[1])
    if goal.gamma > 0:
        excess = running_sums((search.uncertainty - goal.gamma) * progress.uncovered, near)
        slack = ROUNDING * len(progress.uncovered)
        allowed &= excess.gather(1, inside.long()) + spare >= -slack
    cost = (grown - gained).masked_fill(~allowed, IMPOSSIBLE)
    row, column = divmod(int(cost.argmin()), cost.shape[1])
    radius = border[row, column].double().item() - GAP
    return _Candidate(int(cost[row, column]), int(search.centres[block.start + row]), radius)
