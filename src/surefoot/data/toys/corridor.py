"""Two classes on either side of a gap: one that widens, and one with a narrow and a wide part.

The gap a single eps must serve is the point: perturbations as large as the wide part cross the
narrow one. Shapes of Pagliardini et al. 2022, Figures 3, 8, 9.
"""

import math

import torch

from surefoot.data.dataset import Data
from surefoot.data.toys.box import UNIT, boxed

HALF_LENGTH = 1.3
"""Of the centre line."""


def narrow_corridor(
    count: int,
    *,
    seed: int,
    half_gaps: tuple[float, float] = (0.05, 0.5),
    bend: float = 0.0,
    noise: float = 0.5,
    unit: float = UNIT,
) -> Data:
    r"""Draw points beside a centre line whose gap grows from left to right.

    $$ x = c(s) + (2y - 1) \, n(s) \, (h_0 + (h_1 - h_0) s) (1 + \text{noise} \cdot u) $$
    with s, u uniform on [0, 1], n the normal of c, and c the first axis, or with `bend` one wave of
    a sine along it (an S). Where c is straight and u = 0, h is the distance to c in l2 and in linf;
    for that the corridor of the paper's figure, a diagonal, is laid flat.

    Args:
        count: points.
        seed: of the draw.
        half_gaps: at the narrow and at the wide end, in units of the paper.
        bend: height of the wave.
        noise: how far behind the gap points may lie, as a fraction of the half-gap.
        unit: length in the box of one unit.
    """
    along, behind, labels = _draw(count, seed)
    narrow, wide = half_gaps
    away = (2 * labels - 1) * (narrow + (wide - narrow) * along) * (1 + noise * behind)
    turn = math.pi / HALF_LENGTH
    forward = HALF_LENGTH * (2 * along - 1)
    sideways, slope = bend * (turn * forward).sin(), bend * turn * (turn * forward).cos()
    length = (1 + slope**2).sqrt()
    points = torch.stack([forward - away * slope / length, sideways + away / length], 1)
    return boxed("s-corridor" if bend else "narrow-corridor", points, labels, unit)


def two_distance(
    count: int,
    *,
    seed: int,
    half_gaps: tuple[float, float] = (0.05, 0.6),
    depth: float = 0.3,
    unit: float = UNIT,
) -> Data:
    """Draw points above and below two stretches of the first axis, with a gap of their own each.

    Args:
        count: points.
        seed: of the draw.
        half_gaps: of the left and of the right stretch, in units of the paper.
        depth: how far behind the gap points may lie.
        unit: length in the box of one unit.
    """
    along, behind, labels = _draw(count, seed)
    right = along > 0.5
    gap = torch.where(right, half_gaps[1], half_gaps[0])
    # A free stretch of 0.4 between the two: the boundary has room to change its height.
    forward = 2 * along - 1 + torch.where(right, 0.2, -0.2)
    points = torch.stack([forward, (2 * labels - 1) * (gap + depth * behind)], 1)
    return boxed("two-distance", points, labels, unit)


def _draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw the place along the line, the place behind the gap, and the class."""
    stream = torch.Generator().manual_seed(seed)
    along, behind = torch.rand(2, count, generator=stream, dtype=torch.float64)
    return along, behind, torch.randint(2, (count,), generator=stream)
