"""Plain convolutional nets of certified training: strides in place of pooling, ReLU."""

from itertools import pairwise

import torch
from torch import nn

from surefoot.models.lipschitz import WIDTHS


class StridedNet(nn.Sequential):
    """Convolutions and dense layers with ReLU: the nets that linear relaxations bound well.

    Kernels are 3 x 3, or 4 x 4 with stride 2, padded by 1. "2c2f" is the small net of Wong, Kolter
    2018 (16 and 32 channels, 100 features).

    Args:
        shape: 2c2f, 4c3f, 6c2f or 8c2f: the widths of the nets `gloro-...`.
        planes: image planes.
        size: height and width of the images; each stride 2 halves it, rounded down.
        classes: logits.
        width: factor on all widths.
        batch_norm: whether batch normalisation follows each convolution (Shi et al. 2021).
    """

    def __init__(
        self,
        shape: str,
        planes: int = 1,
        size: int = 28,
        classes: int = 10,
        width: float = 1.0,
        batch_norm: bool = False,
    ) -> None:
        table = WIDTHS[shape]
        table.check(size)
        layers: list[nn.Module] = []
        channels = [planes, *(max(round(width * count), 1) for count in table.convolutions)]
        for place, (before, after) in enumerate(pairwise(channels)):
            layers.append(nn.Conv2d(before, after, *table.kernel(place), padding=1))
            layers += [*([nn.BatchNorm2d(after)] if batch_norm else []), nn.ReLU()]
        layers.append(nn.Flatten())
        with torch.no_grad():
            shaped = nn.Sequential(*layers).eval()(torch.zeros(1, planes, size, size)).shape[1]
        widths = [shaped, *(max(round(width * count), 1) for count in table.dense)]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(widths[-1], classes))
        self.train()
