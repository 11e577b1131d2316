"""Random crops and flips of training images. Validation images are never touched."""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from surefoot.types import Images


@dataclass(frozen=True)
class Augmentation:
    """Crops and flips, drawn for each image.

    Args:
        crop: zeros put around the image before a crop of its own size is drawn.
        flip: mirror left and right with probability one half.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise ValueError(f"`crop` must be at least 0; found {self.crop}")

    def apply(self, images: Images, generator: torch.Generator) -> Images:
        """Give the augmented images `[B, P, H, W]`."""
        if (self.crop or self.flip) and images.ndim != 4:
            raise ValueError(
                f"crops and flips need images [B, planes, H, W]; found {tuple(images.shape)}"
            )
        if self.crop:
            images = cropped(images, self.crop, generator)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator) < 0.5
            where = mirrored.view(-1, 1, 1, 1).to(images.device)
            images = torch.where(where, images.flip(3), images)
        return images


def cropped(images: Images, border: int, generator: torch.Generator) -> Images:
    """Shift each image by up to `border` pixels in both directions; zeros move in."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * border + 1, (2, count, 1), generator=generator)
    rows = (down + torch.arange(height)).view(count, 1, height, 1).to(images.device)
    columns = (right + torch.arange(width)).view(count, 1, 1, width).to(images.device)
    which = torch.arange(count, device=images.device).view(count, 1, 1, 1)
    planes = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return pad(images, (border,) * 4)[which, planes, rows, columns]
