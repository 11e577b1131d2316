"""Half-spaces and unions of them, and a search for one that holds much and expands little.

After Prescott, Zhang, Evans, 2021; the label uncertainty is ours. A heuristic: the best normal may
be another.

Shape letters: N points, M directions, D coordinates.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.limits.goal import ROUNDING, Goal
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
from surefoot.progress import track
from surefoot.streams import generator
from surefoot.types import Points

EXPONENTS = (
    *(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0),
    *(10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 70.0, 100.0),
)
"""Of sign(v) |v|^e: the higher, the fewer coordinates count."""

RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of the regression of label uncertainty, in units of the mean variance of a coordinate."""

SCREEN = 4000
"""Points that judge all directions; the best are judged again by all points."""

KEPT = 256
"""Directions that are judged by all points."""

ROWS = 2048
"""Directions, or points, held at once in temporaries."""

SLACK = 1e-12
"""Half-spaces end this much (relatively) behind their outermost point: round-off of products."""

DUAL = {"l2": 2.0, "linf": 1.0}
"""How far w moves w.x within a ball of radius one: by its dual norm."""


@dataclass(frozen=True)
class HalfSpaces:
    r"""The union of closed half-spaces.

    $$ E = \bigcup_t \{x : w_t \cdot x \le b_t\} $$

    Attributes:
        normals: float64, one w a row.
        offsets: one b for each normal.
        norm: of the expansion.
    """

    normals: Float[Tensor, "T D"]
    offsets: Float[Tensor, " T"]
    norm: Literal["l2", "linf"]

    def contains(self, points: Points) -> Inside:
        """Return which points lie in the region; products in float64, a NaN lies outside."""
        return by_blocks(self._inside, points)

    def expand(self, eps: float) -> "HalfSpaces":
        r"""Return all points within `eps` of the region, exactly.

        $$ \{w \cdot x \le b\}_\varepsilon = \{w \cdot x \le b + \varepsilon \lVert w \rVert_q\} $$
        q = 2 for l2, 1 for linf.
        """
        lengths = torch.linalg.vector_norm(self.normals, DUAL[self.norm], dim=1)
        return replace(self, offsets=self.offsets + eps * lengths)

    def _inside(self, block: Tensor) -> Tensor:
        return (block.double() @ self.normals.T <= self.offsets).any(1)


class _Lines(NamedTuple):
    """Points sorted along directions of dual norm one, so that eps expands by eps."""

    normals: Tensor  # [M, D]
    order: Tensor  # [M, N]
    values: Tensor  # [M, N], ascending
    reached: Tensor  # [M, N], how many points lie in the expansion of the half-space up to here
    whole: Tensor  # [M, N], no equal value comes after


def prepare(points: Tensor, uncertainty: Tensor, goal: Goal) -> Fit:
    r"""Choose promising directions once; return the search along them.

    Directions v: all principal components, the ridge regressions of label uncertainty, the
    coordinate axes; of each, sign(v) |v|^e for the exponents above, from both sides. A half-space
    ends at the first point where it holds enough points with enough label uncertainty: prefix sums
    along the sorted projection know. With more components each adds between ceil(left / components
    left) and `left` points at the least |new in the expansion| - |new in the region|; the last
    minimises the expansion.

    With a `gamma`, the regressions are learnt on one half of the points and everything is judged on
    the other: on the points it was learnt from, a regression finds far more uncertainty than
    anywhere else. Time: M N D for M about 25 D directions on at most 4,000 points, and D^3. Memory:
    20 N bytes for each of 256 lines.
    """
    learn = judge = torch.arange(len(points), device=points.device)
    if goal.gamma > 0 and len(points) >= 4:
        order = torch.randperm(len(points), generator=generator(goal.seed, 3)).to(points.device)
        learn, judge = order.tensor_split(2)
    sources = _sources(points, uncertainty, learn, goal.norm)
    points, uncertainty = points[judge], uncertainty[judge]
    few = torch.randperm(len(points), generator=generator(goal.seed, 2))[:SCREEN].to(points.device)
    best = _Best(goal)
    for normals in track(sources, "directions", len(EXPONENTS) + 1):
        for block in normals.split(ROWS):
            best.add(block, points[few], uncertainty[few])
    lines = _lines(best.normals().double(), points, goal.eps)

    def fit(goal: Goal) -> HalfSpaces | None:
        # One component can beat many that were taken greedily.
        tried = [
            _cover(lines, uncertainty, replace(goal, components=components))
            for components in sorted({1, goal.components})
        ]
        best = least_expanded(tried, goal.needed(len(points)))
        return best and _region(best, lines, goal)

    return fit


def _sources(points: Tensor, uncertainty: Tensor, learn: Tensor, norm: str) -> Iterator[Tensor]:
    """Return directions `[M, D]` of dual norm one, group by group."""
    covariance = _covariance(points)
    # All of them: the last ones may be sparse, and eps is cheap along a sparse direction.
    components = torch.linalg.eigh(covariance).eigenvectors.T
    regressions = _regressions(points[learn], uncertainty[learn], covariance)
    vectors = torch.cat([components, regressions])
    for exponent in EXPONENTS:
        yield _sparsified(vectors, exponent, norm)
    yield torch.eye(points.shape[1], dtype=points.dtype, device=points.device)


def _sparsified(vectors: Tensor, exponent: float, norm: str) -> Tensor:
    """Raise coordinates to a power, the largest being one; then scale to dual norm one."""
    scaled = vectors / vectors.abs().amax(1, keepdim=True).clamp(min=1e-30)
    raised = scaled.sign() * scaled.abs().pow(exponent)
    length = torch.linalg.vector_norm(raised, DUAL[norm], dim=1, keepdim=True)
    return raised / length.clamp(min=1e-30)


def _covariance(points: Tensor) -> Tensor:
    centred = points - points.mean(0)
    return centred.T @ centred / len(points)


def _regressions(points: Tensor, uncertainty: Tensor, covariance: Tensor) -> Tensor:
    """Regress label uncertainty on the coordinates, with several ridges; none if it is constant."""
    covariation = (points - points.mean(0)).T @ (uncertainty - uncertainty.mean()).to(points.dtype)
    if not float(covariation.abs().amax()) > ROUNDING:
        return points.new_zeros(0, points.shape[1])
    unit = covariance.diagonal().mean()
    ones = torch.eye(len(covariation), dtype=points.dtype, device=points.device)
    found = [torch.linalg.solve(covariance + ridge * unit * ones, covariation) for ridge in RIDGES]
    return torch.stack(found)


class _Best:
    """The directions of least expansion so far: for the whole region, and for one component."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.fractions = sorted({1.0, 1 / goal.components})
        self.kept: dict[float, tuple[Tensor, Tensor]] = {}

    def add(self, normals: Tensor, points: Tensor, uncertainty: Tensor) -> None:
        """Judge directions by some points, from both sides; keep the best of old and new."""
        projected = normals @ points.T
        for fraction in self.fractions:
            goal = replace(self.goal, risk=self.goal.risk * fraction)
            cost = torch.cat([_costs(side, uncertainty, goal) for side in (projected, -projected)])
            both = torch.cat([normals, -normals])
            if fraction in self.kept:
                cost = torch.cat([self.kept[fraction][0], cost])
                both = torch.cat([self.kept[fraction][1], both])
            first = cost.argsort(stable=True)[: KEPT // len(self.fractions)]
            self.kept[fraction] = cost[first], both[first]

    def normals(self) -> Tensor:
        """Return the directions kept."""
        return torch.cat([normals for _, normals in self.kept.values()])


def _costs(projected: Tensor, uncertainty: Tensor, goal: Goal) -> Tensor:
    """Count the points in the expansion of the least half-space that will do, for each line."""
    budget = goal.budget(projected.shape[1])
    if goal.gamma > 0:
        values, order = projected.sort(1)
        allowed = running_sums(uncertainty - goal.gamma, order)[:, 1:] >= -ROUNDING * len(
            uncertainty
        )
        allowed &= _whole(values)
        allowed[:, : budget - 1] = False
        place = allowed.byte().argmax(1, keepdim=True)
        possible = allowed.any(1)
    else:
        values = sorted_rows(projected)
        place = torch.full((len(values), 1), budget - 1, device=values.device)
        possible = torch.ones(len(values), dtype=torch.bool, device=values.device)
    ends = values.gather(1, place) + goal.eps
    reached = torch.searchsorted(values, ends, right=True).squeeze(1)
    return reached.masked_fill(~possible, IMPOSSIBLE)


def _lines(normals: Tensor, points: Tensor, eps: float) -> _Lines:
    projected = torch.cat([block.double() @ normals.T for block in points.split(ROWS)])
    values, order = projected.T.contiguous().sort(dim=1, stable=True)
    reached = torch.searchsorted(values, values + eps, right=True, out_int32=True)
    return _Lines(normals, order.int(), values, reached, _whole(values))


def _whole(values: Tensor) -> Tensor:
    """Return where a half-space can end: not between equal values."""
    apart = values[:, 1:] > values[:, :-1] + 2 * SLACK * (1 + values[:, :-1].abs())
    return torch.nn.functional.pad(apart, (0, 1), value=True)


def _cover(lines: _Lines, uncertainty: Tensor, goal: Goal) -> Covered:
    """Add half-spaces until the budget is met."""
    count = lines.order.shape[1]
    everything = torch.ones(count, dtype=torch.bool, device=uncertainty.device)
    progress = Covered(everything, everything)
    for components_left in range(goal.components, 0, -1):
        left = goal.budget(count) - progress.covered
        if left <= 0:
            break
        sizes = math.ceil(left / components_left), left if components_left > 1 else count
        best = _cheapest(lines, sizes, progress, uncertainty, goal)
        if best is None:
            break
        progress = _add(progress, best, lines)
    return progress


def _cheapest(
    lines: _Lines, sizes: tuple[int, int], progress: Covered, uncertainty: Tensor, goal: Goal
) -> tuple[int, int] | None:
    """Try all ends along all lines; the first of the cheapest wins."""
    new = running_sums(progress.uncovered.int(), lines.order)[:, 1:]
    grown = running_sums(progress.unexpanded.int(), lines.order).gather(1, lines.reached.long())
    allowed = lines.whole & (new >= sizes[0]) & (new <= sizes[1])
    if goal.gamma > 0:
        over = uncertainty - goal.gamma
        excess = running_sums(over * progress.uncovered, lines.order)[:, 1:]
        spare = over[~progress.uncovered].sum() if goal.constraint == "union" else 0.0
        allowed &= excess + spare >= -ROUNDING * len(uncertainty)
    last = sizes[1] == lines.order.shape[1]
    cost = (grown if last else grown - new).masked_fill(~allowed, IMPOSSIBLE)
    line, place = divmod(int(cost.argmin()), cost.shape[1])
    return (line, place) if int(cost[line, place]) < IMPOSSIBLE else None


def _add(progress: Covered, component: tuple[int, int], lines: _Lines) -> Covered:
    line, place = component
    order = lines.order[line].long()
    uncovered, unexpanded = progress.uncovered.clone(), progress.unexpanded.clone()
    uncovered[order[: place + 1]] = False
    unexpanded[order[: int(lines.reached[line, place])]] = False
    return Covered(uncovered, unexpanded, (*progress.components, component))


def _region(progress: Covered, lines: _Lines, goal: Goal) -> HalfSpaces:
    chosen, places = (torch.tensor(side) for side in zip(*progress.components, strict=True))
    # Other sizes of batch round a product otherwise; the outermost point must stay inside.
    ends = lines.values[chosen, places]
    return HalfSpaces(lines.normals[chosen], ends + SLACK * (1 + ends.abs()), goal.norm)
