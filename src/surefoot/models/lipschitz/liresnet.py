"""LiResNet: residual blocks without a nonlinearity inside, so that a block is one convolution."""

import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from surefoot.models.lipschitz.one_lipschitz import MinMax
from surefoot.models.lipschitz.weights import (
    AddIdentity,
    free_dense,
    start_orthogonal,
    unit_dense,
)


class LiResNetBlock(nn.Sequential):
    """A convolution with the kernel identity + scale * gain * W, then MinMax.

    The Lipschitz constant is the norm of the merged kernel, which is what the layer's `weight`
    gives. It is not bounded by construction: the recipe `gloro` keeps it small.

    Args:
        planes: channels, even.
        scale: of the branch.
    """

    def __init__(self, planes: int, scale: float) -> None:
        layer = nn.Conv2d(planes, planes, 3, padding=1)
        merged = register_parametrization(layer, "weight", AddIdentity(planes, scale))
        super().__init__(merged, MinMax())


class LiResNet(nn.Sequential):
    """Stem, residual blocks, neck, and a last layer with unit rows.

    Args:
        planes: image planes.
        size: height and width of the images, at least 8.
        classes: logits.
        width: channels of the blocks, even.
        depth: blocks; their branches are scaled by depth ** -0.5.
        neck: width of the dense layer before the last, even.

    Reference: Hu et al. 2023 (width 256, depth 18, neck 2048); the stem and the neck are ours.
    """

    def __init__(
        self,
        planes: int = 3,
        size: int = 32,
        classes: int = 10,
        width: int = 64,
        depth: int = 6,
        neck: int = 512,
    ) -> None:
        if size < 8 or width % 2 or neck % 2:
            raise ValueError(
                "LiResNet needs images of at least 8 pixels and even widths; found"
                f" size {size}, width {width}, neck {neck}"
            )
        trunk = nn.Sequential(
            start_orthogonal(nn.Conv2d(planes, width, 5, stride=2, padding=2)),
            MinMax(),
            *[LiResNetBlock(width, depth**-0.5) for _ in range(depth)],
            start_orthogonal(nn.Conv2d(width, 2 * width, 4, stride=4)),
            MinMax(),
            nn.Flatten(),
        )
        with torch.no_grad():
            features = trunk(torch.zeros(1, planes, size, size)).shape[1]
        super().__init__(*trunk, free_dense(features, neck), MinMax(), unit_dense(neck, classes))
