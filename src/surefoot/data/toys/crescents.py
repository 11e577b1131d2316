"""Four crescents in the plane that touch and cross: a few points belong to two classes.

The set on which Leino and Fredrikson test relaxed robustness, drawn afresh: arcs of parabolas, two
of them with a round cloud beside. Where arcs of two classes meet, no boundary can keep a distance
from the points, but the pair of the two classes can be certified.
"""

from typing import NamedTuple

import torch

from surefoot.data.dataset import Data

CRESCENT_UNIT = 0.08
"""Length in the box of one unit of the paper's code: its eps of 0.2 is 0.016 here."""
CENTRE = (2.5, 0.0)
SPREAD = 0.25


class Crescent(NamedTuple):
    """One class: $y = h + c (x - m)^2$ for x between start and end; and a cloud, or none."""

    start: float
    end: float
    middle: float
    height: float
    curve: float
    cloud: tuple[float, float] | None = None


CRESCENTS = {
    "blue": Crescent(2.5, 5.75, 4.75, 2.0, -0.5),
    "green": Crescent(5.0, 7.5, 5.5, 1.0, 0.5, cloud=(7.0, 0.0)),
    "red": Crescent(-0.5, 3.5, 1.0, -2.0, 0.5),
    "yellow": Crescent(-2.5, 1.0, -0.5, 0.0, -0.5, cloud=(-0.75, 1.0)),
}


def crescents(count: int = 400, *, seed: int, unit: float = CRESCENT_UNIT) -> Data:
    """Draw points of four classes in turn; where a class has a cloud, half of its points lie there.

    Args:
        count: points.
        seed: of the draw.
        unit: length in the box of one unit of the paper's code.

    Example:
        >>> crescents(8, seed=0).labels.tolist()
        [0, 1, 2, 3, 0, 1, 2, 3]
    """
    stream = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CRESCENTS)
    table = torch.tensor([shape[:5] for shape in CRESCENTS.values()], dtype=torch.float64)
    start, end, middle, height, curve = table[labels].unbind(1)
    along = start + (end - start) * torch.rand(count, generator=stream, dtype=torch.float64)
    points = torch.stack([along, height + curve * (along - middle) ** 2], 1)
    noise = SPREAD * torch.randn(count, 2, generator=stream, dtype=torch.float64)
    nowhere = (torch.nan, torch.nan)
    clouds = torch.tensor([shape.cloud or nowhere for shape in CRESCENTS.values()])[labels].double()
    beside = (torch.rand(count, generator=stream) < 0.5) & clouds.isfinite().all(1)
    points = torch.where(beside.unsqueeze(1), clouds + noise, points + noise / 2)
    images = 0.5 + unit * (points - torch.tensor(CENTRE, dtype=torch.float64))
    return Data(images.clamp(0, 1).float(), labels, classes=tuple(CRESCENTS), name="crescents")
