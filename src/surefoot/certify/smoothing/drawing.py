"""Draw samples of many images in steps, until each image is decided."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.progress import track
from surefoot.types import Images
from surefoot.uncertainty.vote import Vote

Known = Callable[[Tensor, Tensor, int], Tensor]
"""(rows still open `[b]`, counts of all images `[B, O + 1]`, the number of the look) -> done"""


class Drawn(NamedTuple):
    """What was drawn.

    Args:
        counts: `[B, O + 1]`, the last column of broken samples.
        samples: `[B]`, samples of each image.
    """

    counts: Tensor
    samples: Tensor


def draw_until(
    known: Known,
    vote: Vote,
    images: Images,
    outcomes: int,
    *,
    looks: Sequence[int],
    key: tuple[int, ...],
    batch_size: int,
) -> Drawn:
    """Draw up to the next look for all images that are not decided; they leave one by one.

    Args:
        known: judges at each look which images are decided.
        vote: classifier and noise.
        images: `[B, ...]`.
        outcomes: O.
        looks: samples seen at each look, increasing.
        key: of the noise; each look has a stream of its own.
        batch_size: samples in one pass.
    """
    counts = torch.zeros(len(images), outcomes + 1, dtype=torch.long)
    samples = torch.zeros(len(images), dtype=torch.long)
    rows, seen = torch.arange(len(images)), 0
    for step, look in enumerate(track(looks, "decide", len(looks))):
        if not len(rows):
            break
        fresh = vote.increments(images[rows], look - seen, *key, step, batch_size=batch_size)
        counts[rows] += fresh.cpu()
        samples[rows], seen = look, look
        rows = rows[~known(rows, counts, step)]
    return Drawn(counts, samples)
