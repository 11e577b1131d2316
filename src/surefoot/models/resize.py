"""Resizing and cropping as layers, so that eps and radii stay in units of the images given."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from surefoot.types import Images

Mode = Literal["bilinear", "bicubic", "nearest"]


class Resize(nn.Module):
    """Resize images; differentiable, smoothed where it shrinks, as image libraries do it.

    Args:
        size: (height, width); or one number, the shorter side, the other in proportion.
        mode: how pixels are interpolated.
    """

    def __init__(self, size: tuple[int, int] | int, mode: Mode = "bilinear") -> None:
        super().__init__()
        sides: tuple[int, ...] = (size,) if isinstance(size, int) else tuple(size)
        if not all(isinstance(one, int) and one > 0 for one in sides) or len(sides) not in (1, 2):
            raise ValueError(f"Resize needs a height and a width of at least 1; found {size}")
        self.size, self.mode = sides, mode

    def forward(self, images: Images) -> Images:
        """Resize images `[B, P, H, W]`; those of the size wanted pass unchanged."""
        _check_planar(images, "Resize")
        height, width = images.shape[2:]
        if len(self.size) == 2:
            size = self.size
        else:
            scale = self.size[0] / min(height, width)
            size = (max(int(height * scale), 1), max(int(width * scale), 1))
        if tuple(images.shape[2:]) == size:
            return images
        smooth = self.mode != "nearest"
        return functional.interpolate(
            images,
            size,
            mode=self.mode,
            antialias=smooth,
            align_corners=False if smooth else None,
        )


class CenterCrop(nn.Module):
    """Keep the middle of images; smaller ones get a black border.

    Args:
        size: (height, width).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, images: Images) -> Images:
        """Crop images `[B, P, H, W]`."""
        _check_planar(images, "CenterCrop")
        (top, bottom), (left, right) = (
            _cut(have, want) for have, want in zip(images.shape[2:], self.size, strict=True)
        )
        return functional.pad(images, (-left, -right, -top, -bottom))


def _cut(have: int, want: int) -> tuple[int, int]:
    """Return what goes at the beginning and at the end; negative numbers are added."""
    before = (have - want) // 2
    return before, have - want - before


def _check_planar(images: Tensor, what: str) -> None:
    if images.ndim != 4:
        raise ValueError(f"{what} takes images [B, P, H, W]; found {tuple(images.shape)}")
