"""The nearest point on a hyperplane inside the box: the inner step of FAB, by Newton, no sorting.

Croce, Hein 2020b (FAB), equations 5 and 6. The length a coordinate may move grows until it meets
its wall; the distance covered is concave and piecewise linear in the step, so Newton from 0 rises
monotonically and ends after finitely many pieces.
"""

import torch
from torch import Tensor

from surefoot.threat import Norm

MOST_STEPS = 40
"""Newton passes over the pieces; the step grows geometrically, so far fewer are needed."""


def to_hyperplane(
    points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm, low: float, high: float
) -> Tensor:
    r"""Give the shortest move onto a hyperplane that stays inside the box.

    $$ \min \|\delta\| \quad \text{with} \quad w \cdot (t + \delta) = b, \quad
       low \le t + \delta \le high $$
    Where the hyperplane is out of reach the move goes to the corner nearest to it.

    Args:
        points: t, `[B, D]`, inside the box.
        normals: w, `[B, D]`.
        offsets: b, `[B]`.
        norm: "linf" or "l2".
        low: wall.
        high: wall.

    Returns:
        moves `[B, D]`.
    """
    gap = (normals * points).sum(1) - offsets
    direction = -normals.sign() * gap.sign().unsqueeze(1)
    weight = normals.abs()
    room = torch.where(direction > 0, high - points, points - low)
    room = torch.where(weight > 0, room, 0.0)
    slope = weight if norm == "l2" else (weight > 0).to(weight)
    gain = weight * slope
    needed = gap.abs()
    step = torch.zeros_like(needed)
    for _ in range(MOST_STEPS):
        moved = torch.minimum(room, step.unsqueeze(1) * slope)
        missing = needed - (weight * moved).sum(1)
        free = (gain * (moved < room)).sum(1)
        open_rows = (missing > 1e-7 * needed) & (free > 0)
        if not bool(open_rows.any()):
            break
        step = torch.where(open_rows, step + missing / free.clamp(min=1e-38), step)
    reachable = (weight * room).sum(1) > needed
    moved = torch.minimum(room, step.unsqueeze(1) * slope)
    return direction * torch.where(reachable.unsqueeze(1), moved, room)
