"""Decisions about two masses that are both unknown, by e-processes; nothing is chosen beforehand.

`decisions` fixes on the selection copies where member and rival meet, and tests two shares; this
one tests the pair itself. Both are sound; `benchmarks/smoothing.py` compares their copies.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from surefoot.certify.smoothing.decisions import Decisions
from surefoot.certify.smoothing.drawing import draw_until
from surefoot.guarantees import tolerated_shift
from surefoot.stats import looks_of, lower_bound, pair_log_evidence, upper_bound
from surefoot.types import Images, Sets
from surefoot.uncertainty.vote import Vote

HOPE = 0.002
"""Level of each bound that gives up: small, because it is used at every look."""


def decide_pairs(
    vote: Vote,
    images: Images,
    selection: Tensor,
    sets: Sets,
    *,
    radii: Sequence[float],
    alpha: float,
    draws: int,
    key: tuple[int, ...],
    batch_size: int = 2000,
) -> Decisions:
    """Decide which radii hold: every member must have evidence against every rival.

    Each pair has level alpha (intersection-union); radii are nested and share it.

    Args:
        vote: classifier and noise.
        images: inside the box.
        selection: counts `[B, O + 1]` of other copies, a first guess of the masses.
        sets: one alternative an image, `[B, 1, O]`; not chosen on these copies.
        radii: in increasing order, above 0.
        alpha: probability that anything said about an image is wrong.
        draws: at most so many copies an image.
        key: of the noise.
        batch_size: copies in one pass.
    """
    inside = torch.cat([sets[:, 0], torch.zeros_like(sets[:, 0, :1])], 1).cpu()
    shifts = torch.tensor([radius / vote.sigma for radius in radii], dtype=torch.float64)
    looks = looks_of(draws)
    held = torch.zeros(len(images), dtype=torch.long)
    selection = selection.cpu()

    def known(rows: Tensor, counts: Tensor, step: int) -> Tensor:
        own, members, first = counts[rows], inside[rows], selection[rows]
        for _ in range(len(shifts)):  # several radii may fall at one look
            ahead = (held[rows] < len(shifts)) & members.any(1)
            shift = shifts[held[rows].clamp(max=len(shifts) - 1)]
            sure = ahead & _evident(own, members, first, shift, alpha)
            held[rows] += sure.long()
            if not bool(sure.any()):
                break
        done = held[rows] == len(shifts)
        shift = shifts[held[rows].clamp(max=len(shifts) - 1)]
        return done | ~members.any(1) | _hopeless(own, members, looks[step], shift)

    drawn = draw_until(
        known, vote, images, sets.shape[2], looks=looks, key=key, batch_size=batch_size
    )
    grid = torch.tensor([0.0, *radii], dtype=torch.float64)
    return Decisions(grid[held].to(images.device), drawn.samples, drawn.counts, None)


def _evident(counts: Tensor, inside: Tensor, first: Tensor, shift: Tensor, alpha: float) -> Tensor:
    """Say which images have evidence for all pairs; the closest pair first, mostly it decides."""
    far = counts.sum(1, keepdim=True) + 1
    weakest = torch.where(inside, counts, far).argmin(1)
    strongest = counts.masked_fill(inside, -1).argmax(1)
    sure = inside.any(1) & _convinced(counts, weakest, strongest, first, shift, alpha)
    for row in sure.nonzero().flatten().tolist():
        members, rivals = inside[row].nonzero().flatten(), (~inside[row]).nonzero().flatten()
        one, other = (part.flatten() for part in torch.meshgrid(members, rivals, indexing="ij"))
        table, guess = (part[row].expand(len(one), -1) for part in (counts, first))
        sure[row] = bool(_convinced(table, one, other, guess, shift[row], alpha).all())
    return sure


def _convinced(
    counts: Tensor, one: Tensor, other: Tensor, first: Tensor, shift: Tensor, alpha: float
) -> Tensor:
    """Say for which rows the evidence of outcome `one` against `other` reaches 1 / alpha."""
    pair = torch.stack([one, other], 1)
    own, guess = counts.gather(1, pair), first.gather(1, pair).double()
    rest = first.sum(1, keepdim=True) - guess.sum(1, keepdim=True)
    prior = torch.cat([guess, rest], 1) + 0.5
    found = pair_log_evidence(own[:, 0], own[:, 1], counts.sum(1), shift, prior)
    return found >= -math.log(alpha)


def _hopeless(counts: Tensor, inside: Tensor, look: int, shift: Tensor) -> Tensor:
    """Say for which images the next radius is surely too large: costs power, never soundness."""
    best = upper_bound(counts, look, HOPE).masked_fill(~inside, 2.0).amin(1).clamp(max=1.0)
    least = lower_bound(counts, look, HOPE).masked_fill(inside, 0.0).amax(1)
    return tolerated_shift(best, torch.minimum(least, 1 - best).clamp(min=1e-300)) < shift
