"""Images with their pixels in another order: OOD inputs with the same histogram of pixels."""

from dataclasses import replace

import torch

from surefoot.data.dataset import Data
from surefoot.data.on_disk import OnDisk


def shuffled(data: Data, seed: int = 0) -> Data:
    """Permute the places of all images alike; the planes of a pixel stay together.

    Mean, contrast and the set of pixels of an image stay, only its shape is lost: what is left for
    a detector to notice. The permutation depends on the seed and the number of places alone.

    Args:
        data: any set, `[N, planes, H, W]` or `[N, D]`.
        seed: of the permutation.
    """
    if isinstance(data.images, OnDisk):
        raise ValueError(
            f"`shuffled:` needs images in memory; {data.name} is memory-mapped. Shuffle some rows:"
            " dataclasses.replace(data, images=data.inputs(slice(0, 1000)), ...)."
        )
    images = data.images
    kept = 2 if images.ndim == 4 else 1
    places = images[0].numel() if kept == 1 else images[0, 0].numel()
    order = torch.randperm(places, generator=torch.Generator().manual_seed(seed))
    moved = images.flatten(kept)[..., order].reshape(images.shape)
    return replace(data, name=f"shuffled-{data.name}", images=moved)
