"""The nearest point on a hyperplane inside the box: the inner step of FAB, by Newton, no sorting.

Croce, Hein 2020b (FAB), equations 5 and 6. The length a coordinate may move grows until it meets
its wall; the distance covered is concave and piecewise linear in the step, so Newton from 0 rises
monotonically and ends after finitely many pieces.
"""

import torch
from torch import Tensor

from surefoot.threat import Norm

HUGE = 1e38
MOST_STEPS = 40
"""Newton passes over the pieces; the step grows geometrically, so far fewer are needed."""


def to_hyperplane(
    points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm, low: float, high: float
) -> Tensor:
    r"""Return the shortest move onto a hyperplane that stays inside the box.

    $$ \min \|\delta\| \quad \text{with} \quad w \cdot (t + \delta) = b, \quad
       low \le t + \delta \le high $$
    Where the hyperplane is out of reach the move goes to the corner nearest to it.

    Args:
        points: t, `[K B, D]`, inside the box; K points after each other for each hyperplane.
        normals: w, `[B, D]`.
        offsets: b, `[B]`.
        norm: "linf" or "l2".
        low: wall.
        high: wall.

    Returns:
        moves `[K B, D]`.
    """
    stacked = points.view(-1, *normals.shape)
    gap = (normals * stacked).sum(2) - offsets
    direction = (-normals.sign() * gap.sign().unsqueeze(2)).view_as(points)
    # high - t where it rises, t - low where it falls, 0 where the weight is 0. Products with 0 and
    # 1, here and below: `where` on whole images costs twenty times as much.
    height = direction.clamp(min=0).mul_(high - low)
    room = torch.addcmul(height, direction, points - low, value=-1)
    weight, needed = normals.abs(), gap.abs().flatten()
    step = _least_step(weight, room, needed, norm)
    free = step.unsqueeze(1)
    if norm == "l2":
        free = (step.view(-1, len(weight), 1) * weight).view_as(room)
    return torch.minimum(room, free, out=room).mul_(direction)


def _least_step(weight: Tensor, room: Tensor, needed: Tensor, norm: Norm) -> Tensor:
    """Solve sum w min(room, step slope) = needed for the step; solved rows leave the loop.

    The slope is the weight itself for l2, 1 for linf; the step is huge where no step is enough.
    """
    reachable = (room.view(-1, *weight.shape) * weight).sum(2).flatten() > needed
    result = torch.where(reachable, 0.0, HUGE).to(needed)
    rows = (reachable & (needed > 0)).nonzero().flatten()
    weight, room, needed = weight[rows % len(weight)], room[rows], needed[rows]
    gain = weight.square() if norm == "l2" else weight
    step, missing, moved = torch.zeros_like(needed), needed, torch.zeros_like(room)
    is_free = torch.empty_like(room)
    for _ in range(MOST_STEPS):
        torch.lt(moved, room, out=is_free)
        free = (gain * is_free).sum(1)
        step = step + missing / free.clamp(min=1 / HUGE)
        result[rows] = step
        length = weight * step.unsqueeze(1) if norm == "l2" else step.unsqueeze(1)
        torch.minimum(room, length, out=moved)
        missing = needed - (weight * moved).sum(1)
        going = (missing > 1e-7 * needed) & (free > 0)
        if not bool(going.any()):
            break
        if bool((~going).any()):
            rows, step, missing, needed = rows[going], step[going], missing[going], needed[going]
            weight, room, gain = weight[going], room[going], gain[going]
            moved, is_free = moved[going], torch.empty_like(room)
    return result
