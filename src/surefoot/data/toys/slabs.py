"""Coordinates that each tell the class on their own, some simply, some in slabs (Shah et al. 2020).

LMS-k: a linear coordinate and slabs of k; MS-k: slabs alone. A net that looks at the simple one
only is what "simplicity bias" means; `papers.toys.simplicity` measures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.data.dataset import Data
from surefoot.data.toys.box import UNIT, boxed

LINEAR = 1
FRACTIONS = {3: (1.0, 1.0), 5: (0.75, 1.0, 0.25), 7: (0.5, 7 / 8, 0.5, 1 / 8)}
"""Fraction of its class in each ring, from the centre outwards; classes 0 and 1 take turns."""


@dataclass(frozen=True)
class SlabVariant:
    """What makes slabs harder to learn, or turns them.

    Args:
        fractions: of its class in each ring, from the centre outwards; None takes `FRACTIONS`.
        wrong: fractions of linear and of slab coordinates that are drawn as if of the other class.
        inside: fraction of linear coordinates that are uniform inside the margin.
        rotated: turn the whole by a random rotation (may need a smaller `unit`).
    """

    fractions: Sequence[float] | None = None
    wrong: tuple[float, float] = (0.0, 0.0)
    inside: float = 0.0
    rotated: bool = False


PLAIN = SlabVariant()


def slabs(
    count: int,
    kinds: Sequence[int] = (LINEAR, 5),
    *,
    seed: int,
    margins: tuple[float, float] = (0.1, 0.1),
    width: float = 1.0,
    variant: SlabVariant = PLAIN,
    unit: float = UNIT,
) -> Data:
    r"""Draw points of which every coordinate tells the class, independently of the others.

    Linear: $x = (2y - 1)(m + (B - m) u)$. k slabs of width $w = (2B - 2(k-1)m)/k$: ring j >= 1 lies
    at $\pm[(j - 1/2) w + 2jm + wu]$, the centre at $\pm wu/2$; even rings hold class 0, odd ones
    class 1, and neighbours are 2m apart.

    Args:
        count: points.
        kinds: of the coordinates: 1 linear, or 3, 5, 7 slabs. LMS-5 in the plane is (1, 5), in 50
            dimensions (1, *[5] * 49); MS-(5, 7) is (5, 7).
        seed: of the draw.
        margins: m of linear and of slab coordinates, as fractions of `width`.
        width: B, the largest coordinate.
        variant: wrong coordinates, points inside the margin, other rings, a rotation.
        unit: length in the box of one unit.

    Example:
        >>> slabs(4, (1, 5, 5), seed=0).images.shape
        torch.Size([4, 3])
    """
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=stream)
    columns = []
    for kind in kinds:
        linear = kind == LINEAR
        told = labels ^ _some(count, variant.wrong[0 if linear else 1], stream).long()
        margin = width * (margins[0] if linear else margins[1])
        if linear:
            column = _linear(told, margin, width, stream)
            lost = margin * (2 * _uniform(count, stream) - 1)
            column = torch.where(_some(count, variant.inside, stream), lost, column)
        else:
            fractions = variant.fractions or _fractions_of(kind)
            column = _slabs(told, kind, margin, width, fractions, stream)
        columns.append(column)
    points = torch.stack(columns, 1)
    if variant.rotated:
        points = points @ _rotation(len(kinds), stream)
    return boxed("slabs-" + "-".join(map(str, kinds)), points, labels, unit)


def _linear(labels: Tensor, margin: float, width: float, stream: torch.Generator) -> Tensor:
    return (2 * labels - 1) * (margin + (width - margin) * _uniform(len(labels), stream))


def _slabs(
    labels: Tensor,
    kind: int,
    margin: float,
    width: float,
    fractions: Sequence[float],
    stream: torch.Generator,
) -> Tensor:
    thick = (2 * width - 2 * (kind - 1) * margin) / kind
    if not thick > 0:
        raise ValueError(f"{kind} slabs with margin {margin:g} do not fit in a width of {width:g}")
    odds = torch.tensor(fractions, dtype=torch.float64)
    parity = torch.arange(len(odds)) % 2
    odds = torch.where(parity == labels.unsqueeze(1), odds, 0.0)
    ring = torch.multinomial(odds, 1, generator=stream).squeeze(1)
    start = torch.where(ring > 0, (ring - 0.5) * thick + 2 * ring * margin, 0.0)
    depth = torch.where(ring > 0, thick, thick / 2)
    sign = 2 * torch.randint(2, (len(labels),), generator=stream) - 1
    return sign * (start + depth * _uniform(len(labels), stream))


def _fractions_of(kind: int) -> Sequence[float]:
    if kind not in FRACTIONS:
        raise ValueError(f"`kinds` must hold 1 (linear), 3, 5 or 7 (slabs); found {kind}")
    return FRACTIONS[kind]


def _uniform(count: int, stream: torch.Generator) -> Tensor:
    return torch.rand(count, generator=stream, dtype=torch.float64)


def _some(count: int, fraction: float, stream: torch.Generator) -> Tensor:
    return _uniform(count, stream) < fraction


def _rotation(dimension: int, stream: torch.Generator) -> Tensor:
    """Draw a rotation uniformly: the orthogonal factor of a Gaussian matrix, signs made unique."""
    gauss = torch.randn(dimension, dimension, generator=stream, dtype=torch.float64)
    orthogonal, upper = torch.linalg.qr(gauss)
    orthogonal = orthogonal * upper.diagonal().sign()
    orthogonal[:, 0] *= torch.linalg.det(orthogonal).sign()
    return orthogonal
