"""Blended images: half one class and half its partner, so that one label cannot be right.

For guarantees of sets: the pair can be certified where neither class can.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from surefoot.data import digits
from surefoot.data.dataset import Data

SHARE = 0.4
SEEDS = {"train": 0, "test": 1}


def load(split: str) -> Data:
    """Return blended digits: those of `digits`, of which 40 % are blended (0 with 1, 2 with 3,
    ...).

    No image of one split is part of a blend of the other.
    """
    return blended(digits.load(split), seed=SEEDS[split])


def blended(data: Data, *, seed: int, fraction: float = SHARE) -> Data:
    r"""Replace a fraction of the images by the mean of themselves and an image of the partner
    class.

    $$ x \mapsto (x + x') / 2, \qquad y \text{ one of the two labels by a fair coin} $$
    Partners are neighbours: classes 2k and 2k + 1. `probabilities` tell the blends: 1/2 each.

    Args:
        data: labelled images, of an even number of classes that all occur.
        seed: of the choice, the partners and the labels.
        fraction: of images that are blended.
    """
    if len(data.classes) % 2 or not 0 <= fraction <= 1:
        raise ValueError(
            "`blended` pairs neighbouring classes and needs an even number of them, and a fraction"
            " in"
            f" [0, 1]; found {len(data.classes)} classes, fraction {fraction}"
        )
    stream = torch.Generator().manual_seed(seed)
    images, labels = data.batch(slice(None))
    count = len(data)
    mixed = torch.randperm(count, generator=stream) < round(fraction * count)
    partners = _drawn(labels, labels ^ 1, stream)
    wide = mixed.view(-1, *[1] * (images.ndim - 1))
    images = torch.where(wide, (images + images[partners]) / 2, images)
    swapped = mixed & (torch.rand(count, generator=stream) < 0.5)
    hot = one_hot(labels, len(data.classes)).float()
    both = (hot + hot[partners]) / 2
    return Data(
        images,
        torch.where(swapped, labels ^ 1, labels),
        classes=data.classes,
        probabilities=torch.where(mixed.unsqueeze(1), both, hot),
        name=f"blended-{data.name}",
    )


def _drawn(labels: Tensor, wanted: Tensor, stream: torch.Generator) -> Tensor:
    """Draw for each row an index at which `labels` is as wanted."""
    rows = torch.empty_like(wanted)
    for label in wanted.unique():
        there, asking = (labels == label).nonzero().flatten(), wanted == label
        if len(there) == 0:
            raise ValueError(f"class {int(label)} has no image: its partner cannot be blended")
        rows[asking] = there[torch.randint(len(there), (int(asking.sum()),), generator=stream)]
    return rows
