"""Exact boundaries and margins of classifiers of two classes in the plane.

Point margin, ratio and margin efficiency as in Pagliardini et al. 2022, with the minimum where the
paper says maximum. All lengths are in pixel units; divide by `data.toys.UNIT` for those of papers.
"""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from surefoot.attacks.ascent import nearest_crossing
from surefoot.models import frozen
from surefoot.threat import Norm
from surefoot.types import Flags, Labels, Model, PerExample, Points

Segments = Float64[Tensor, "L 2 2"]
"""Ends of line segments: `[:, 0]` and `[:, 1]` are points."""

BISECTIONS, ROWS = 25, 64
CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
"""Of a cell of the grid, around; edge e joins corner e to the next."""


def grid(resolution: int) -> Float[Tensor, "G 2"]:
    """Return the points of a grid over the box, the first coordinate running fastest."""
    line = torch.linspace(0, 1, resolution)
    return torch.cartesian_prod(line, line).flip(1)


def logit_margin(model: Model, points: Points) -> PerExample:
    """Return f_1 - f_0 at each point."""
    with frozen(model), torch.no_grad():
        outcomes = torch.cat([model(part) for part in points.split(1 << 14)])
    if outcomes.shape[1] != 2 or points.shape[1] != 2:
        raise ValueError(
            "boundaries are found for two classes in the plane; found"
            f" {outcomes.shape[1]} outcomes of {points.shape[1]} coordinates"
        )
    return outcomes[:, 1] - outcomes[:, 0]


def boundary(model: Model, *, resolution: int = 400) -> Segments:
    """Find the boundary between the two classes inside the box, as line segments.

    Every edge of a grid whose ends are of different classes is halved until the crossing is pinned
    down, and the crossings of each cell are joined. So the ends of all segments lie on the
    boundary; between them it is off by less than a cell. Islands smaller than a cell are missed.

    Args:
        model: two outcomes a point.
        resolution: points of the grid along each axis.
    """
    points = grid(resolution).view(resolution, resolution, 2)
    upper = (logit_margin(model, points.flatten(0, 1)) > 0).view(resolution, resolution)
    corners = torch.stack([_shifted(upper, *corner) for corner in CORNERS], 2)
    cells = (corners != corners.roll(-1, 2)).any(2)
    around = torch.stack([_shifted(points, *corner) for corner in CORNERS], 2)[cells]
    kinds = corners[cells]
    cell, edges = _joined(kinds, logit_margin(model, around.mean(1)) > 0)
    ends = [_crossing(model, around[cell], kinds[cell], edge) for edge in edges.unbind(1)]
    return torch.stack(ends, 1).double()


def _shifted(values: Tensor, down: int, right: int) -> Tensor:
    last = len(values) - 1
    return values[down : last + down, right : last + right]


def _joined(kinds: Bool[Tensor, "K 4"], middle: Flags) -> tuple[Tensor, Tensor]:
    """Return which two edges each segment joins: the cell `[L]` and the edges `[L, 2]`.

    Where all four edges are crossed, the class of the middle says which corners are cut off.
    """
    crossed = kinds != kinds.roll(-1, 1)
    saddle = crossed.all(1)
    plain = (~saddle).nonzero().flatten()
    cells, edges = [plain], [crossed[plain].nonzero()[:, 1].view(-1, 2)]
    for same, cuts in ((True, ((0, 1), (2, 3))), (False, ((3, 0), (1, 2)))):
        chosen = (saddle & ((middle == kinds[:, 0]) == same)).nonzero().flatten()
        for cut in cuts:
            cells.append(chosen)
            edges.append(torch.tensor(cut).expand(len(chosen), 2))
    return torch.cat(cells), torch.cat(edges)


def _crossing(model: Model, around: Tensor, kinds: Tensor, edge: Tensor) -> Float[Tensor, "L 2"]:
    """Halve an edge of each cell between its two classes."""
    row = torch.arange(len(edge))
    one, other = around[row, edge], around[row, (edge + 1) % 4]
    upper = kinds[row, edge].unsqueeze(1)
    inside, outside = torch.where(upper, one, other), torch.where(upper, other, one)
    return nearest_crossing(
        inside, outside, lambda points: logit_margin(model, points) > 0, BISECTIONS
    )


def distance_to(segments: Segments, points: Points, *, norm: Norm) -> PerExample:
    r"""Measure the distance of points to the nearest of the segments, in closed form.

    $$ \min_{t \in [0, 1]} \lVert a + t (b - a) - x \rVert $$
    In l2 by projection. In linf the least of a convex function that is linear between its ends and
    the two t where both coordinates are equally far. Infinite where there is no segment.
    """
    if len(segments) == 0:
        return torch.full((len(points),), torch.inf, dtype=torch.float64)
    start, way = segments[:, 0], segments[:, 1] - segments[:, 0]
    parts = []
    for part in points.double().split(ROWS):
        gap = start - part.unsqueeze(1)
        fractions = _shares(gap, way, norm).nan_to_num(0.0).clamp(0, 1)
        off = gap.unsqueeze(2) + fractions.unsqueeze(3) * way[:, None]
        length = torch.linalg.vector_norm(off, 2 if norm == "l2" else torch.inf, dim=3)
        parts.append(length.flatten(1).amin(1))
    return torch.cat(parts)


def _shares(gap: Float64[Tensor, "N L 2"], way: Tensor, norm: Norm) -> Float64[Tensor, "N L T"]:
    """Return the fractions of the way at which the distance may be least."""
    if norm == "l2":
        return (-(gap * way).sum(2) / way.square().sum(1)).unsqueeze(2)
    across, along = gap.unbind(2)
    step, climb = way.unbind(1)
    meet = torch.stack([(along - across) / (step - climb), -(along + across) / (step + climb)], 2)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(*across.shape, 2)
    return torch.cat([meet, ends], 2)


def margins(
    model: Model, points: Points, labels: Labels, *, norm: Norm, resolution: int = 400
) -> PerExample:
    """Measure the margin of each point: its distance to the boundary, negative if it is wrong.

    Holds if the nearest part of the boundary lies in the box; infinite if there is none in it.

    Args:
        model: two outcomes a point.
        points: inside the box.
        labels: 0 or 1.
        norm: of the distance.
        resolution: of the grid on which the boundary is found.
    """
    apart = distance_to(boundary(model, resolution=resolution), points, norm=norm)
    right = (logit_margin(model, points) > 0) == labels.bool()
    return torch.where(right, apart, -apart)


def smallest_ratio(margins: PerExample, gaps: PerExample) -> float:
    r"""Return the smallest margin as a fraction of the best possible one: at most 1.

    $$ \min_i m_i / (\tfrac12 \min_i d_i) $$

    Args:
        margins: m, of each point.
        gaps: d, distance of each point to the nearest of another class (`nearest_other_class`).
    """
    return (margins.min() / (gaps.min() / 2)).item()


def efficiency(margins: PerExample, gaps: PerExample) -> float:
    r"""Average how much of its own best margin each point has (margin efficiency): at most 1.

    $$ \tfrac1N \sum_i \min(m_i, d_i / 2) / (d_i / 2) $$
    Arguments as for `smallest_ratio`.
    """
    return (margins.minimum(gaps / 2) / (gaps / 2)).mean().item()
