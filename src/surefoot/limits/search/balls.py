"""Greedy search for a union of balls that covers a fraction of the points and expands little.

Mahloujifar, Zhang, Mahmoody, Evans, NeurIPS 2019, Algorithm 2, with the label uncertainty of Zhang,
Evans, ICLR 2022. A heuristic: the best union may be better than the one found.

Shape letters: N points, each also a centre, B of them at once; W nearest neighbours that can lie on
the border of a ball.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surefoot.limits.distances import chebyshev, euclidean
from surefoot.limits.goal import ROUNDING, Fit, Goal
from surefoot.limits.regions import Balls
from surefoot.progress import track

GAP = 1e-6
"""A ball ends this much before the next neighbour: the largest room for unseen points."""

ENTRIES = 2**21
"""Numbers held at once in each temporary."""

SINGLE = 2.0
"""Coordinates up to this size differ by less than GAP / 2 between float32 and float64."""

ROOM = 2
"""Neighbours kept, in units of the first budget: calibration may ask for more than that."""

IMPOSSIBLE = torch.iinfo(torch.int32).max


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

    border: Tensor  # [N, W] distances
    near: Tensor  # [N, W] int32, which points
    inside: Tensor  # [N, W] int32, how many of them lie in the ball
    reached: Tensor  # [N, W] int32, how many of all points lie in its expansion


class _Candidate(NamedTuple):
    cost: int
    centre: int
    radius: float


@dataclass(frozen=True)
class _Progress:
    """The components found so far, and what they leave open."""

    uncertainty: Tensor  # [N]
    uncovered: Tensor  # [N]
    unexpanded: Tensor  # [N]
    gone: Tensor  # [N, W + 1], expanded points by the first ball whose expansion holds them
    components: tuple[_Candidate, ...] = ()

    @property
    def covered(self) -> int:
        return int((~self.uncovered).sum())

    @property
    def expanded(self) -> int:
        return int((~self.unexpanded).sum())

    def spare(self, gamma: float) -> float:
        """Return the sum of label uncertainty above `gamma` that the next component may use up."""
        return (self.uncertainty[~self.uncovered] - gamma).sum().item()


def prepare(points: Tensor, uncertainty: Tensor, goal: Goal, seed: int = 0) -> Fit:
    r"""Measure and sort all neighbours once; give the greedy search for balls (l2) or cubes (linf).

    It covers a fraction `goal.risk` of the points by balls, each the cheapest next to those before
    it:
    $$ \min_{u, r}\; |\mathrm{Ball}(u, r + \varepsilon) \setminus E_\varepsilon| -
    |\mathrm{Ball}(u, r) \setminus E| $$
    over the centres u among the points and the radii r that add between ceil(left / components
    left) and `left` new points, where `left` completes risk * (1 + delta). Ties: the first centre,
    then the smallest ball. Memory: 24 N W bytes, W = 2 risk (1 + delta) N; no N x N table. Needs no
    `seed`.
    """
    del seed  # every centre is tried
    metric = _metric(points, goal.norm)
    width = min(ROOM * goal.budget(len(points)) + 1, len(points))
    tables = _tables(metric, width, goal.eps)

    def fit(goal: Goal) -> Balls | None:
        nonlocal tables
        asked = min(goal.budget(len(points)) + 1, len(points))
        if asked > tables.near.shape[1]:
            tables = _tables(metric, min(2 * asked, len(points)), goal.eps)
        # A region that obeys component by component obeys as a union too: keep the better of both.
        both = goal.constraint == "union" and goal.gamma > 0
        tried = [
            _cover(points, uncertainty, goal, metric, tables, fraction)
            for fraction in ((True, False) if both else (False,))
        ]
        reached = [end for end in tried if end.covered >= goal.needed(len(points))]
        if not reached:
            return None
        best = min(reached, key=lambda end: end.expanded)
        return _region(best.components, points, goal)

    return fit


def _metric(points: Tensor, norm: str) -> _Metric:
    centred = points.double() - points.mean(0, dtype=torch.float64)
    if norm == "l2":
        return _Metric(norm, centred, centred.T, centred.square().sum(1))
    if float(centred.abs().amax()) <= SINGLE:
        centred = centred.float()
    return _Metric(norm, centred, centred.T.contiguous(), centred.new_zeros(len(centred)))


def _cover(
    points: Tensor,
    uncertainty: Tensor,
    goal: Goal,
    metric: _Metric,
    tables: _Tables,
    fraction: bool,
) -> _Progress:
    """Add components until the budget is met; a component may use what earlier ones spare."""
    everything = torch.ones(len(points), dtype=torch.bool, device=points.device)
    count, width = tables.near.shape
    gone = torch.zeros(count, width + 1, dtype=torch.int32, device=points.device)
    progress = _Progress(uncertainty, everything, everything, gone)
    for pieces_left in range(goal.components, 0, -1):
        left = goal.budget(len(points)) - progress.covered
        # One point is not worth a component of its own, unless the risk needs it.
        if left <= 1 and progress.covered >= goal.needed(len(points)):
            break
        sizes = math.ceil(left / pieces_left), left
        spare = progress.spare(goal.gamma) if fraction else 0.0
        candidates = [
            _cheapest(tables, block, sizes, progress, goal, spare)
            for block in _blocks(count, width)
        ]
        best = min(candidates, key=lambda candidate: candidate.cost)
        if best.cost == IMPOSSIBLE:
            break
        progress = _add(progress, best, points, metric, tables, goal)
    return progress


def _add(
    progress: _Progress,
    component: _Candidate,
    points: Tensor,
    metric: _Metric,
    tables: _Tables,
    goal: Goal,
) -> _Progress:
    """Take the component; what it expands to counts no more for any ball."""
    region = _region((component,), points, goal)
    uncovered = progress.uncovered & ~region.contains(points)
    fresh = progress.unexpanded & region.expand(goal.eps).contains(points)
    ends, gone = tables.border + (goal.eps - GAP), progress.gone
    for rows in fresh.nonzero().squeeze(1).split(max(1, ENTRIES // len(points))):
        apart = metric.to_all(rows).T.contiguous()
        first = torch.searchsorted(ends, apart)
        gone.scatter_add_(1, first, torch.ones_like(first, dtype=torch.int32))
    components = (*progress.components, component)
    return _Progress(
        progress.uncertainty, uncovered, progress.unexpanded & ~fresh, gone, components
    )


def _region(components: tuple[_Candidate, ...], points: Tensor, goal: Goal) -> Balls:
    centres = points[[component.centre for component in components]].double()
    return Balls(
        centres, centres.new_tensor([component.radius for component in components]), goal.norm
    )


def _blocks(count: int, width: int) -> Iterator[slice]:
    rows = max(1, ENTRIES // width)
    return (slice(start, start + rows) for start in range(0, count, rows))


def _tables(metric: _Metric, width: int, eps: float) -> _Tables:
    count = len(metric.rows)
    # Filled in place: blocks kept apart until the end would leave holes of several GB in the heap.
    integers = metric.rows.new_empty(3, count, width, dtype=torch.int32)
    tables = _Tables(metric.rows.new_empty(count, width), *integers)
    blocks = list(_blocks(count, count))
    for block in track(blocks, "neighbours", len(blocks)):
        for whole, part in zip(tables, _table(metric.to_all(block), width, eps), strict=True):
            whole[block] = part
    return tables


def _table(distances: Tensor, width: int, eps: float) -> _Tables:
    near = distances.topk(width, largest=False).indices.int()
    ordered = _sorted(distances)
    border = ordered[:, :width].contiguous()
    inside = torch.searchsorted(border, border - GAP, right=True, out_int32=True)
    reached = torch.searchsorted(ordered, border + (eps - GAP), right=True, out_int32=True)
    return _Tables(border, near, inside, reached)


def _sorted(distances: Tensor) -> Tensor:
    """Sort each row; numpy's sort is several times as fast as torch's on a CPU."""
    if distances.device.type == "cpu":
        return torch.from_numpy(np.sort(distances.numpy(), axis=1))
    return distances.sort(1).values


def _cheapest(
    tables: _Tables,
    block: slice,
    sizes: tuple[int, int],
    progress: _Progress,
    goal: Goal,
    spare: float,
) -> _Candidate:
    """Try all balls of these centres that add a size in range; the first of the cheapest wins."""
    border, near, inside, reached = (table[block] for table in tables)
    new = _running(progress.uncovered.int(), near)
    places = inside + (new.shape[1] * torch.arange(len(new), device=new.device)).int().unsqueeze(1)
    gained = new.flatten().index_select(0, places.flatten()).view(inside.shape)
    grown = reached - progress.gone[block, :-1].cumsum(1, dtype=torch.int32)
    # The ball before neighbour j adds those of its j predecessors that are uncovered.
    allowed = (new[:, 1:] > new[:, :-1]) & (gained > 0)
    allowed &= (new[:, :-1] >= sizes[0]) & (new[:, :-1] <= sizes[1])
    if goal.gamma > 0:
        excess = _running((progress.uncertainty - goal.gamma) * progress.uncovered, near)
        slack = ROUNDING * len(progress.uncovered)
        allowed &= excess.gather(1, inside.long()) + spare >= -slack
    cost = (grown - gained).masked_fill(~allowed, IMPOSSIBLE)
    row, column = divmod(int(cost.argmin()), cost.shape[1])
    radius = border[row, column].double().item() - GAP
    return _Candidate(int(cost[row, column]), block.start + row, radius)


def _running(values: Tensor, order: Tensor) -> Tensor:
    """Sum `values` [N] along each row of `order` [B, M]; column j holds the sum of the first j."""
    ordered = values.index_select(0, order.flatten()).view(order.shape)
    return torch.nn.functional.pad(ordered.cumsum(1, dtype=values.dtype), (1, 0))
