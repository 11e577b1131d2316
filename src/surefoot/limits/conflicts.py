r"""A proven ceiling for the points at hand: points that no classifier can get right together.

Two points of different labels whose balls meet cannot both be right and robust: their common point
has one prediction (Bhagoji, Cullina, Mittal 2019, for two classes). The best fraction of points is
a maximum independent set of the graph of conflicts; with soft labels it is an integer programme
over the labels that points are given. Every bound here holds for every classifier, on exactly these
points; it does not hold for new ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching
from torch import Tensor

from surefoot.guarantees import Guarantee, Local, check_guarantee
from surefoot.limits.neighbours import close_pairs
from surefoot.threat import Norm
from surefoot.types import checked_labels

HardOrSoft = Tensor
"""Classes `[N]` or `[N, 1]`, or fractions of annotators `[N, C]`."""
SECONDS = 20.0
"""For the integer programme of one group of points; then its bound counts instead."""
ROUND = 1e-6
"""What a solver's value may be off by; whole numbers are rounded down after it is added."""


@dataclass(frozen=True)
class Ceiling:
    """No classifier is right and robust on more of these points.

    Args:
        value: the fraction, rounded up.
        exact: it is the largest fraction that the conflicts of pairs allow, not a bound of it: no
            pair lies so close to the distance of conflict that rounding decides.
        conflicts: pairs of points that cannot both be right (soft labels: that must agree).
    """

    value: float
    exact: bool
    conflicts: int


def conflict_bound(
    points: Float[Tensor, "N ..."],
    labels: HardOrSoft,
    *,
    eps: float,
    norm: Norm,
    guarantee: Guarantee | None = None,
) -> Ceiling:
    r"""Bound the robust accuracy of every classifier on these points from above.

    Hard labels: points i, j with $y_i \ne y_j$ and $\lVert x_i - x_j \rVert \le 2 \varepsilon$
    conflict, for the point between them lies in both balls. Counted are only pairs whose balls
    overlap by enough that a point of the precision of `points` lies in both: then no classifier,
    as it runs, is right on both; pairs at the very border make the bound looser (`exact`).

    For `LabelOrUncertain` it takes
    $\le \varepsilon$: a point that is accepted with its label must not lie in the ball of one with
    another; the bound is about points that are accepted and right. Solved for each connected group
    of conflicts: two classes by matching (Koenig), more by an integer programme, its dual bound
    where time runs out.

    Soft labels $\eta$ `[N, C]`: the largest expected agreement with an annotator,
    $$ \max_x \tfrac1N \sum_{i, y} \eta_{iy} x_{iy}, \quad \sum_y x_{iy} \le 1, \quad
       x_{iy} + \sum_{y' \ne y} x_{jy'} \le 1 \text{ for close } i, j $$
    with $x_{iy} \in \{0, 1\}$: point i is robustly given label y. Without any close pair it is the
    mean of the largest fraction. The linear relaxation, where it has to serve, never goes below one
    half of that.

    `TopK`, `RelaxedTopK` and `Affinity` have no such ceiling (one set may hold both labels): 1.

    Args:
        points: any shape a point, inside a convex box.
        labels: classes, or the fraction of annotators for each class.
        eps: radius of the balls, in the units of the points, at least 0.
        norm: "l2" or "linf".
        guarantee: `Local` by default.

    Raises:
        ValueError: points that are not finite, labels that do not fit, a negative radius.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [1.5]])
        >>> conflict_bound(line, torch.tensor([0, 1, 0]), eps=0.3, norm="l2").value
        0.666...
    """
    guarantee = Local() if guarantee is None else guarantee
    check_guarantee(guarantee)
    hard = labels.ndim == 1 or labels.shape == (len(points), 1)
    _check(points, labels, eps, norm, hard=hard)
    if guarantee.conflict_distance is None:
        return Ceiling(1.0, False, 0)
    reach = guarantee.conflict_distance * eps
    flat = points.flatten(1)
    margin = _overlap(flat, norm) if guarantee.conflict_distance > 1 else 0.0
    if hard:
        classes = checked_labels(labels, flat)
        pairs, whole = close_pairs(
            flat,
            reach,
            norm,
            margin=margin,
            wanted=lambda i, j: classes[i].unsqueeze(1) != classes[j],
        )
        best, exact = _hard(pairs.numpy(), classes.cpu().numpy())
    else:
        pairs, whole = close_pairs(flat, reach, norm, margin=margin)
        best, exact = _soft(pairs.numpy(), labels.double().cpu().numpy())
    return Ceiling(min(best / len(points) * (1 + 1e-12), 1.0), exact and whole, len(pairs))


def _overlap(points: Tensor, norm: Norm) -> float:
    """Return how far two balls must overlap, so that some representable point lies in both.

    Rounding the point between them to the grid of the numbers moves each coordinate by half a
    unit in the last place.
    """
    unit = torch.finfo(points.dtype).eps * points.abs().amax().item()
    return unit * (points.shape[1] ** 0.5 if norm == "l2" else 1.0)


def _check(points: Tensor, labels: Tensor, eps: float, norm: str, *, hard: bool) -> None:
    if points.ndim < 2 or len(points) == 0 or len(labels) != len(points):
        raise ValueError(
            f"need points [N, ...] and as many labels; found shapes {tuple(points.shape)} and"
            f" {tuple(labels.shape)}"
        )
    if norm not in ("l2", "linf"):
        raise ValueError(f'`norm` must be "l2" or "linf"; found {norm!r}')
    if not points.is_floating_point():
        raise ValueError(
            f"`points` must be floating point; found {points.dtype}. Pass points.double(), and eps"
            " in the same units"
        )
    if not bool(points.isfinite().all()):
        raise ValueError("`points` must be finite; found a NaN or an infinity")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"`eps` must be finite and at least 0; found {eps}")
    if not hard and not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ValueError("soft labels are fractions: found one outside [0, 1] or a NaN")


def _groups(pairs: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return each connected group of conflicts: its points, and its pairs in their numbers."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    ordered = np.argsort(group[pairs[:, 0]], kind="stable")
    cuts = np.flatnonzero(np.diff(group[pairs[ordered, 0]])) + 1
    for part in np.split(pairs[ordered], cuts) if len(pairs) else ():
        members, numbers = np.unique(part, return_inverse=True)
        yield members, numbers.reshape(-1, 2)


def _hard(pairs: np.ndarray, labels: np.ndarray) -> tuple[float, bool]:
    """Return the largest number of points without a conflict, and whether it is exact."""
    best, exact = float(len(labels)), True
    for members, edges in _groups(pairs, len(labels)):
        own = labels[members]
        if len(np.unique(own)) == 2:
            lost, known = _matching(edges, own == own[0]), True
        else:
            kept, known = _independent(edges, len(members))
            lost = len(members) - kept
        best, exact = best - lost, exact and known
    return best, exact


def _matching(edges: np.ndarray, left: np.ndarray) -> int:
    """Return the size of a largest matching: so many points must go (Koenig)."""
    rows = np.where(left[edges[:, 0]], edges[:, 0], edges[:, 1])
    columns = np.where(left[edges[:, 0]], edges[:, 1], edges[:, 0])
    size = len(left)
    graph = csr_array((np.ones(len(edges)), (rows, columns)), shape=(size, size))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def _independent(edges: np.ndarray, count: int) -> tuple[float, bool]:
    """Return the size of a largest independent set, or a bound of it."""
    rows = np.repeat(np.arange(len(edges)), 2)
    matrix = csr_array((np.ones(2 * len(edges)), (rows, edges.ravel())), (len(edges), count))
    value, exact = _largest(np.ones(count), matrix)
    return float(np.floor(value + ROUND)), exact


def _soft(pairs: np.ndarray, fractions: np.ndarray) -> tuple[float, bool]:
    """Return the largest sum of fractions, and whether it is exact."""
    most, exact = fractions.max(1), True
    total = float(most.sum())
    for members, edges in _groups(pairs, len(fractions)):
        own = fractions[members]
        if (own.max(1) <= own[:, own.sum(0).argmax()]).all():
            continue  # one label is best for all
        value, known = _largest(*_agreement(edges, own))
        total += min(value + ROUND, float(own.max(1).sum())) - float(own.max(1).sum())
        exact = exact and known
    return total, exact


def _agreement(edges: np.ndarray, fractions: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Write the programme of one group: gains, and rows that must not exceed 1."""
    count, classes = fractions.shape
    alone = (np.repeat(np.arange(count), classes), np.arange(count * classes))
    one, other = edges[:, 0], edges[:, 1]
    rows, columns = [alone[0]], [alone[1]]
    line = count
    for label in range(classes):
        numbers = line + np.arange(len(edges))
        rows.append(numbers)
        columns.append(one * classes + label)
        for competitor in range(classes):
            if competitor != label:
                rows.append(numbers)
                columns.append(other * classes + competitor)
        line += len(edges)
    places = np.concatenate(rows), np.concatenate(columns)
    matrix = csr_array((np.ones(len(places[0])), places), (line, count * classes))
    return fractions.ravel(), matrix


def _largest(gains: np.ndarray, matrix: csr_array) -> tuple[float, bool]:
    """Maximise a sum of 0/1 choices, no row above 1; the solver's bound if time runs out."""
    found = milp(
        -gains,
        integrality=np.ones(len(gains)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, -np.inf, 1),
        options={"time_limit": SECONDS, "mip_rel_gap": 0.0},
    )
    bound = found.get("mip_dual_bound")
    if found.status == 0 and bound is not None:
        return max(-float(bound), -float(found.fun)), True
    if bound is not None and np.isfinite(bound):
        return min(-float(bound), float(gains.sum())), False
    return _relaxed(gains, matrix), False


def _relaxed(gains: np.ndarray, matrix: csr_array) -> float:
    """Bound it by choices between 0 and 1; by all gains if even that fails."""
    found = milp(-gains, bounds=Bounds(0, 1), constraints=LinearConstraint(matrix, -np.inf, 1))
    return -float(found.fun) if found.status == 0 else float(gains.sum())
