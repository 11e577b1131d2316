"""Convolutional nets of the GloRo papers: strides in place of pooling, MinMax, free weights."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from surefoot.models.lipschitz.one_lipschitz import MinMax, Scale
from surefoot.models.lipschitz.weights import (
    AOL,
    free_dense,
    orthogonal_dense,
    start_orthogonal,
    unit_dense,
)


@dataclass(frozen=True)
class Widths:
    """Channels of the convolutions, those with stride 2, and widths of the hidden dense layers."""

    convolutions: tuple[int, ...]
    strided: tuple[int, ...]
    dense: tuple[int, ...]

    def check(self, size: int) -> None:
        """Raise unless images of this size are left with a pixel."""
        if size < 2 ** len(self.strided):
            raise ValueError(
                f"{len(self.strided)} strides need images of at least {2 ** len(self.strided)}"
                f" pixels; found {size}"
            )

    def kernel(self, place: int) -> tuple[int, int]:
        """Return side and stride of the kernel of a convolution; all are padded by 1."""
        return (4, 2) if place in self.strided else (3, 1)


WIDTHS = {
    "2c2f": Widths((16, 32), (0, 1), (100,)),
    "4c3f": Widths((32, 32, 64, 64), (1, 3), (512, 512)),
    "6c2f": Widths((32, 32, 32, 64, 64, 64), (2, 5), (512,)),
    "8c2f": Widths((64, 64, 64, 128, 128, 256, 256, 256), (2, 4, 6), (256,)),
}
"""Channels, strided layers and dense widths of the nets `gloro-...`."""


class GloRoNet(nn.Sequential):
    """Convolutions and dense layers with MinMax.

    Kernels are 3 x 3, or 4 x 4 with stride 2, padded by 1: the Lipschitz constant of each is
    measured, that of the net is their product. With `weights` "aol" each layer has Lipschitz
    constant at most 1 by construction (AOL kernels, orthogonal dense layers, unit rows at the end),
    and the recipe `standard` trains the net as it does `LipschitzMLP`.

    Args:
        shape: 2c2f, 4c3f, 6c2f or 8c2f.
        planes: image planes.
        size: height and width of the images; each stride 2 halves it, rounded down.
        classes: logits.
        width: factor on all widths.
        weights: "free" (orthogonal at the start; recipe `gloro`), or "aol".
        scale: factor on the logits, with "aol".

    Reference: Leino, Wang, Fredrikson 2021; the sizes of the kernels and the last convolution of
    8c2f are ours.
    """

    def __init__(
        self,
        shape: str,
        planes: int = 1,
        size: int = 28,
        classes: int = 10,
        width: float = 1.0,
        weights: Literal["free", "aol"] = "free",
        scale: float = 4.0,
    ) -> None:
        table, free = WIDTHS[shape], weights == "free"
        table.check(size)
        layers: list[nn.Module] = []
        channels = [planes, *(_even(width * count) for count in table.convolutions)]
        for place, (before, after) in enumerate(pairwise(channels)):
            layers += [_convolution(before, after, *table.kernel(place), free), MinMax()]
        layers.append(nn.Flatten())
        with torch.no_grad():
            features = nn.Sequential(*layers)(torch.zeros(1, planes, size, size)).shape[1]
        widths = [features, *(_even(width * count) for count in table.dense)]
        for before, after in pairwise(widths):
            layers += [(free_dense if free else orthogonal_dense)(before, after), MinMax()]
        layers.append((free_dense if free else unit_dense)(widths[-1], classes))
        super().__init__(*layers, *([] if free else [Scale(scale)]))


def _convolution(before: int, after: int, size: int, stride: int, free: bool) -> nn.Module:
    layer = start_orthogonal(nn.Conv2d(before, after, size, stride, padding=1))
    return layer if free else register_parametrization(layer, "weight", AOL())


def _even(width: float) -> int:
    return max(2 * round(width / 2), 2)
