"""Two images in one, each enough to tell the class: MNIST-CIFAR style (Shah et al. 2020)."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.data.dataset import Data


def joined(
    upper: Data,
    lower: Data,
    *,
    upper_classes: tuple[int, int],
    lower_classes: tuple[int, int],
    seed: int,
) -> Data:
    """Put an image of one set above an image of another; class 0 pairs the first classes named.

    Pairs are drawn at random without return, as many a class as the scarcer set has. Smaller images
    are padded with 0 on all sides, grey ones repeated over three planes.

    Args:
        upper: images above, `[N, planes, H, W]`.
        lower: images below.
        upper_classes: of `upper` that mean 0 and 1.
        lower_classes: of `lower` that mean 0 and 1.
        seed: of pairs and order.

    Returns:
        images `[M, planes, 2 H, W]`; the halves are `images[:, :, :H]` and `images[:, :, H:]`.
    """
    _check(upper, lower)
    stream = torch.Generator().manual_seed(seed)
    rows = [
        _pairs(upper.labels == above, lower.labels == below, stream)
        for above, below in zip(upper_classes, lower_classes, strict=True)
    ]
    labels = torch.cat([torch.full((pairs.shape[1],), label) for label, pairs in enumerate(rows)])
    order = torch.randperm(len(labels), generator=stream)
    above, below = torch.cat(rows, 1)[:, order]
    images = torch.cat(_alike(upper.images[above], lower.images[below]), 2)
    names = tuple(
        f"{upper.classes[one]} over {lower.classes[other]}"
        for one, other in zip(upper_classes, lower_classes, strict=True)
    )
    name = f"{upper.name}-over-{lower.name}"
    return Data(images, labels[order], classes=names, levels=upper.levels, name=name)


def _check(upper: Data, lower: Data) -> None:
    if upper.images.ndim != 4 or lower.images.ndim != 4:
        raise ValueError(
            "`upper` and `lower` must hold images [N, planes, H, W]; found"
            f" {tuple(upper.images.shape)} and {tuple(lower.images.shape)}"
        )
    if (upper.levels, upper.images.dtype) != (lower.levels, lower.images.dtype):
        raise ValueError(
            "`upper` and `lower` must count grey alike; found"
            f" {upper.images.dtype} up to {upper.levels} and {lower.images.dtype} up to"
            f" {lower.levels}"
        )


def _pairs(above: Tensor, below: Tensor, stream: torch.Generator) -> Tensor:
    """Draw pairs of rows `[2, M]`, each row once at most."""
    drawn = []
    for flags in (above, below):
        rows = flags.nonzero().flatten()
        drawn.append(rows[torch.randperm(len(rows), generator=stream)])
    count = min(len(rows) for rows in drawn)
    if count == 0:
        raise ValueError("a class of `upper_classes` or `lower_classes` has no image in its set")
    return torch.stack([rows[:count] for rows in drawn])


def _alike(upper: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to the larger height, width and number of planes."""
    planes, height, width = (
        max(a, b) for a, b in zip(upper.shape[1:], lower.shape[1:], strict=True)
    )
    return _grown(upper, planes, height, width), _grown(lower, planes, height, width)


def _grown(images: Tensor, planes: int, height: int, width: int) -> Tensor:
    down, right = height - images.shape[2], width - images.shape[3]
    edges = (right // 2, right - right // 2, down // 2, down - down // 2)
    return pad(images, edges).expand(-1, planes, -1, -1)
