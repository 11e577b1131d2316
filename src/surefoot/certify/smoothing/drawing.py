"""Draw samples of many images in steps, until each image is decided."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from surefoot.certify.smoothing.sampling import Sampling
from surefoot.progress import track
from surefoot.types import Images
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote

Decided = Callable[[Tensor, Counts, int], Tensor]
"""(rows still open `[b]`, their counts, the number of the look) -> which are decided `[b]`"""


def draw_until(
    decided: Decided,
    vote: Vote,
    images: Images,
    purpose: int,
    looks: Sequence[int],
    sampling: Sampling,
) -> tuple[Counts, Tensor]:
    """Draw up to the next look for all images that are not decided; they leave one by one.

    Args:
        decided: judges at each look which images are decided.
        vote: classifier and noise.
        images: `[B, ...]`.
        purpose: of the noise; each look has a stream of its own.
        looks: samples seen at each look, increasing.
        sampling: seed and samples in one pass.

    Returns:
        counts, and samples of each image `[B]`, on the CPU.
    """
    samples = torch.zeros(len(images), dtype=torch.long)
    rows, seen, table = torch.arange(len(images)), 0, torch.zeros(0)
    for step, look in enumerate(track(looks, "decide", len(looks))):
        if not len(rows):
            break
        key = (purpose, sampling.seed, step)
        fresh = vote.increments(images[rows], look - seen, *key, batch_size=sampling.batch_size)
        if step == 0:
            table = fresh.table.new_zeros(fresh.table.shape, device="cpu")
        table[rows] += fresh.table.cpu()
        samples[rows], seen = look, look
        rows = rows[~decided(rows, Counts.of(table[rows], vote.rejects), step)]
    return Counts.of(table, vote.rejects), samples
