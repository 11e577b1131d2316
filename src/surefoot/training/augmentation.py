"""Random crops, shifts and flips of training images. Validation images are never touched."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from surefoot.types import Images


@dataclass(frozen=True)
class Augmentation:
    """Crops, shifts and flips, drawn for each image.

    Args:
        crop: Pad with so many zeros, then crop to the size of the image at a random place.
        shift: Move the image by up to so many pixels, fractions included, along both axes.
        flip: Mirror left and right with probability one half.
    """

    crop: int = 0
    shift: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0 or not 0 <= self.shift < float("inf"):
            raise ValueError(
                f"`crop` and `shift` must be at least 0; found {self.crop}, {self.shift}"
            )

    def apply(self, images: Images, generator: torch.Generator) -> Images:
        """Return the augmented images `[B, P, H, W]`."""
        if (self.crop or self.shift or self.flip) and images.ndim != 4:
            raise ValueError(
                "crops, shifts and flips need images [B, planes, H, W]; found"
                f" {tuple(images.shape)}"
            )
        if self.crop:
            images = cropped(images, self.crop, generator)
        if self.shift:
            away = 2 * torch.rand(len(images), 2, generator=generator) - 1
            images = shifted(images, self.shift * away)
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


def shifted(images: Images, offsets: Tensor) -> Images:
    """Move images by (right, down) pixels `[B, 2]`, bilinear in between; zeros move in."""
    size = torch.tensor([images.shape[3], images.shape[2]])
    maps = torch.eye(2, 3).repeat(len(images), 1, 1)
    maps[:, :, 2] = -2 * offsets / size  # the grid says where a pixel comes from, in [-1, 1]
    grid = affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
