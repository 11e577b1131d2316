"""Greedy search for a union of balls that covers a share of the points and expands little.

Mahloujifar, Zhang, Mahmoody, Evans, NeurIPS 2019, Algorithm 2, with the label uncertainty of Zhang,
Evans, ICLR 2022. A heuristic: the best union may be better than the one found.

Shape letters: N points, B centres of one table, W nearest neighbours that can lie on the border of
a ball, M >= W that can lie in its expansion.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.limits.label_uncertainty import points_needed
from surefoot.limits.regions import Region

GAP = 1e-6
"""A ball ends this much before the next neighbour: the largest room for unseen points."""

ROUNDING = 1e-12
"""A mean label uncertainty may miss `gamma` by this much: round-off of its sum."""

NOISE = 1e-14
"""Squared distances below this share of the squared norms are the round-off of equal points."""

ENTRIES = 2**21
"""Distances held at once while the tables are built."""

IMPOSSIBLE = torch.iinfo(torch.int32).max


@dataclass(frozen=True)
class Goal:
    """What the region must reach, as documented in `concentration`; checked when made."""

    risk: float
    gamma: float
    eps: float
    norm: Literal["l2", "linf"]
    pieces: int
    delta: float
    constraint: Literal["union", "piece"]

    def __post_init__(self) -> None:
        limits = {
            "`risk` must lie in (0, 1)": 0 < self.risk < 1,
            "`gamma` must be a label uncertainty, in [0, 2]": 0 <= self.gamma <= 2,
            "`eps` must be finite and >= 0": 0 <= self.eps < math.inf,
            "`norm` must be 'l2' or 'linf'": self.norm in ("l2", "linf"),
            "`pieces` must be at least 1": self.pieces >= 1,
            "`delta` must be finite and >= 0": 0 <= self.delta < math.inf,
            "`constraint` must be 'union' or 'piece'": self.constraint in ("union", "piece"),
        }
        broken = [rule for rule, holds in limits.items() if not holds]
        if broken:
            raise ValueError(
                f"{'; '.join(broken)}; found risk {self.risk:g}, gamma {self.gamma:g},"
                f" eps {self.eps:g}, pieces {self.pieces}, delta {self.delta:g}"
            )

    def needed(self, points: int) -> int:
        """Count the points that make up the risk."""
        return points_needed(self.risk, points)

    def budget(self, points: int) -> int:
        """Count the points that the search covers if it can: the risk and `delta` on top."""
        return min(points_needed(self.risk * (1 + self.delta), points), points)


class _Table(NamedTuple):
    """The neighbourhoods of a batch of centres, nearest first."""

    start: int
    border: Tensor  # [B, W], the nearest W of the distances
    distances: Tensor  # [B, M]
    neighbours: Tensor  # [B, M], int32


class _Candidate(NamedTuple):
    cost: int
    centre: int
    radius: float


@dataclass(frozen=True)
class _Progress:
    """The pieces found so far, and what they leave open."""

    uncertainty: Tensor  # [N]
    uncovered: Tensor  # [N]
    unexpanded: Tensor  # [N]
    pieces: tuple[_Candidate, ...] = ()

    @property
    def covered(self) -> int:
        return int((~self.uncovered).sum())

    @property
    def expanded(self) -> int:
        return int((~self.unexpanded).sum())

    def spare(self, gamma: float) -> float:
        """Give the sum of label uncertainty above `gamma` that the next piece may use up."""
        return (self.uncertainty[~self.uncovered] - gamma).sum().item()

    def add(self, piece: _Candidate, points: Tensor, goal: Goal) -> "_Progress":
        region = _region((piece,), points, goal)
        uncovered = self.uncovered & ~region.contains(points)
        unexpanded = self.unexpanded & ~region.expand(goal.eps).contains(points)
        return _Progress(self.uncertainty, uncovered, unexpanded, (*self.pieces, piece))


def greedy_union(points: Tensor, uncertainty: Tensor, goal: Goal) -> Region | None:
    r"""Cover a share `goal.risk` of the points by balls, each the cheapest next to those before it.

    $$ \min_{u, r}\; |\mathrm{Ball}(u, r + \varepsilon) \setminus E_\varepsilon| -
    |\mathrm{Ball}(u, r) \setminus E| $$
    over the centres u among the points and the radii r that add between ceil(left / pieces left)
    and `left` new points, where `left` completes risk * (1 + delta). Ties: the first centre, then
    the smallest ball. Float64 `points` [N, D] and `uncertainty` [N]. None if the risk is out of
    reach.
    """
    tables = list(_tables(points, goal))
    # A region that obeys piece by piece obeys as a union too: try both ways, keep the better one.
    both = goal.constraint == "union" and goal.gamma > 0
    rules = (True, False) if both else (False,)
    tried = [_cover(points, uncertainty, goal, tables, share) for share in rules]
    reached = [end for end in tried if end.covered >= goal.needed(len(points))]
    if not reached:
        return None
    best = min(reached, key=lambda end: end.expanded)
    return _region(best.pieces, points, goal)


def _cover(
    points: Tensor, uncertainty: Tensor, goal: Goal, tables: list[_Table], share: bool
) -> _Progress:
    """Add pieces until the budget is met; `share`: a piece may use what earlier ones can spare."""
    everything = torch.ones(len(points), dtype=torch.bool, device=points.device)
    progress = _Progress(uncertainty, everything, everything)
    for pieces_left in range(goal.pieces, 0, -1):
        left = goal.budget(len(points)) - progress.covered
        # One point is not worth a piece of its own, unless the risk needs it.
        if left <= 1 and progress.covered >= goal.needed(len(points)):
            break
        sizes = torch.arange(math.ceil(left / pieces_left), left + 1, device=points.device)
        spare = progress.spare(goal.gamma) if share else 0.0
        candidates = [_cheapest(table, sizes, progress, goal, spare) for table in tables]
        best = min(candidates, key=lambda candidate: candidate.cost)
        if best.cost == IMPOSSIBLE:
            break
        progress = progress.add(best, points, goal)
    return progress


def _region(pieces: tuple[_Candidate, ...], points: Tensor, goal: Goal) -> Region:
    radii = points.new_tensor([piece.radius for piece in pieces])
    return Region(points[[piece.centre for piece in pieces]], radii, goal.norm)


def _tables(points: Tensor, goal: Goal) -> Iterator[_Table]:
    """Sort the neighbours of each centre, as far as a ball within the budget can expand."""
    points = points - points.mean(0)
    rows = max(1, ENTRIES // len(points))
    width = min(goal.budget(len(points)) + 1, len(points))
    for start in range(0, len(points), rows):
        distances = _distances(points[start : start + rows], points, goal.norm)
        border = distances.topk(width, largest=False).values
        reach = int((distances <= border[:, -1:] + goal.eps).sum(1).max())
        nearest, neighbours = distances.topk(reach, largest=False)
        yield _Table(start, border, nearest, neighbours.int())


def _distances(rows: Tensor, points: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return torch.cdist(rows, points, p=math.inf)
    norms = rows.square().sum(1, keepdim=True) + points.square().sum(1)
    squared = norms - 2 * rows @ points.T
    return squared.masked_fill_(squared <= NOISE * norms, 0.0).sqrt_()


def _cheapest(
    table: _Table, sizes: Tensor, progress: _Progress, goal: Goal, spare: float
) -> _Candidate:
    """Try all sizes at all centres of the table; the first of the cheapest wins."""
    width = table.border.shape[1]
    near = table.neighbours[:, :width]
    new = _running(progress.uncovered.int(), near)
    # Neighbour k, counted from 0 among the uncovered, stands where k + 1 of them are first reached.
    wanted = (sizes + 1).int().expand(len(new), -1).contiguous()
    position = torch.searchsorted(new, wanted) - 1
    radii = table.border.gather(1, position.clamp(max=width - 1)) - GAP
    inside = torch.searchsorted(table.border, radii, right=True)
    gained = new.gather(1, inside)
    excess = _running((progress.uncertainty - goal.gamma) * progress.uncovered, near)
    too_certain = excess.gather(1, inside) + spare < -ROUNDING * len(progress.uncovered)
    grown = _running(progress.unexpanded.int(), table.neighbours).gather(
        1, torch.searchsorted(table.distances, radii + goal.eps, right=True)
    )
    refused = too_certain | (gained == 0) | (position >= width)
    cost = (grown - gained).masked_fill(refused, IMPOSSIBLE)
    row, column = divmod(int(cost.argmin()), cost.shape[1])
    return _Candidate(int(cost[row, column]), table.start + row, radii[row, column].item())


def _running(values: Tensor, order: Tensor) -> Tensor:
    """Sum `values` [N] along each row of `order` [B, M]; column j holds the sum of the first j."""
    ordered = values.index_select(0, order.flatten()).view(order.shape)
    return torch.nn.functional.pad(ordered.cumsum(1, dtype=values.dtype), (1, 0))
