"""A net without convolutions: channels are mixed by rotations, and pixels meet by shifts.

Every layer has Lipschitz constant 1 or less, whatever its parameters: the recipe `standard` trains
the net. In the style of LipNeXt (2026), by its abstract; the arrangement is ours.
"""

from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from surefoot.models.lipschitz.one_lipschitz import BetaAbs, NormPool, Scale, Shift
from surefoot.models.lipschitz.weights import Cayley, unit_dense


class LipNeXtBlock(nn.Sequential):
    """Shift groups of channels by a pixel, rotate the channels, fold some: Lipschitz constants 1, 1
    and 1.

    Args:
        planes: channels.
        fraction: of the channels that are folded.
    """

    def __init__(self, planes: int, fraction: float = 0.5) -> None:
        super().__init__(Shift(), _mixing(planes, planes), BetaAbs(fraction))


class LipNeXt(nn.Sequential):
    """Patches as channels, blocks, l2 pooling, and a last layer with unit rows.

    Args:
        planes: image planes.
        size: height and width of the images, a multiple of `patch`.
        classes: logits.
        width: channels of the blocks, at least planes * patch ** 2 (else information is lost).
        depth: blocks.
        patch: side of the squares of pixels that become channels.
        fraction: of the channels that are folded in each block.
        scale: factor on the logits.
    """

    def __init__(
        self,
        planes: int = 3,
        size: int = 32,
        classes: int = 10,
        width: int = 64,
        depth: int = 6,
        patch: int = 2,
        fraction: float = 0.5,
        scale: float = 4.0,
    ) -> None:
        if size % patch or width < 8:
            raise ValueError(
                "LipNeXt needs a size that `patch` divides and a width of at least 8; found"
                f" size {size}, patch {patch}, width {width}"
            )
        super().__init__(
            nn.PixelUnshuffle(patch),
            _mixing(planes * patch**2, width),
            *[LipNeXtBlock(width, fraction) for _ in range(depth)],
            NormPool(),
            unit_dense(width, classes),
            Scale(scale),
        )


def _mixing(before: int, after: int) -> nn.Module:
    return register_parametrization(nn.Conv2d(before, after, 1), "weight", Cayley())
