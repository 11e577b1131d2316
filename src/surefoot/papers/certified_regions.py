"""What is certified where, for nets in the plane: the data of a figure.

At every place of a grid over the box: the best class, and the smallest set that is certified there.
A net trained for one label rejects along each of its boundaries; one trained for pairs has a strip
there in which the pair is certified instead (Leino, Fredrikson 2021, the figure of the plane).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surefoot.certify import lipschitz
from surefoot.data import Data
from surefoot.guarantees import Guarantee
from surefoot.types import Images, Sets


@dataclass(frozen=True)
class CertifiedRegion:
    """What one net certifies in the plane.

    Args:
        name: of the net and its guarantee.
        data: points to show.
        eps: l2 radius.
        best: best class at each place, `[side, side]`, row by row from below.
        sets: members of the smallest certified set, bool `[side, side, C]`; all False: rejected.
    """

    name: str
    data: Data
    eps: float
    best: Tensor
    sets: Tensor


def region(
    name: str, model: nn.Module, data: Data, *, guarantee: Guarantee, eps: float, side: int = 200
) -> CertifiedRegion:
    """Certify every place of a grid over the box.

    Args:
        name: to be shown.
        model: a net that `certify.lipschitz` knows, of points `[B, 2]` in the box.
        data: points to show.
        guarantee: of sets.
        eps: l2 radius.
        side: places along each axis.
    """
    line = torch.linspace(0, 1, side)
    across, up = torch.meshgrid(line, line, indexing="xy")
    places: Images = torch.stack([across, up], 2).view(-1, 2)
    found = lipschitz.certify(model, places, guarantee=guarantee)
    with torch.no_grad():
        best = model(places).argmax(1)
    chosen = smallest(found.sets, found.radii, eps)
    return CertifiedRegion(name, data, eps, best.view(side, side), chosen.view(side, side, -1))


def smallest(sets: Sets, radii: Tensor, eps: float) -> Tensor:
    """Return members of the smallest alternative certified to eps, `[B, O]`; False if none is."""
    proven = (radii > 0) & (radii >= eps)
    sizes = torch.where(proven, sets.sum(2), sets.shape[2] + 1)
    chosen = sets[torch.arange(len(sets)), sizes.argmin(1)]
    return chosen & proven.any(1, keepdim=True)
