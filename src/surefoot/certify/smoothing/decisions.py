"""Decisions at given radii: draw until every one is sure, and no longer.

All radii of an image share its samples and need no split of alpha: the claims are nested, and are
believed only up to the first that fails (fixed-sequence testing). Images whose claims are decided
leave the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.smoothing.drawing import draw_until
from surefoot.certify.smoothing.hypotheses import NONE, Hypotheses, SampleBudget, hypotheses_of
from surefoot.certify.smoothing.procedure import Procedure
from surefoot.guarantees import Guarantee, Local
from surefoot.stats import group_sequential, looks_of
from surefoot.types import Images, Sets
from surefoot.uncertainty.vote import Vote

PLAIN = Procedure()


class Decisions(NamedTuple):
    """What was decided.

    Args:
        radius: `[B]`, the largest radius up to which every claim was accepted, or 0.
        samples: `[B]`, samples used.
        counts: `[B, O + 1]`, of those samples.
        accepted: `[B]`, whether certainly a label wins at the image; None where the radius says so.
    """

    radius: Tensor
    samples: Tensor
    counts: Tensor
    accepted: Tensor | None


class _Tests(NamedTuple):
    which: Tensor  # [B, R, O + 1] number of the test of each statement
    accept: Tensor  # [looks, tests]
    give_up: Tensor


def decide(
    vote: Vote,
    images: Images,
    selection: Tensor,
    sets: Sets,
    guarantee: Guarantee,
    *,
    radii: Sequence[float],
    alpha: float,
    draws: int,
    key: tuple[int, ...],
    how: Procedure = PLAIN,
    batch_size: int = 2000,
) -> Decisions:
    """Decide for each image which radii hold.

    Where a rejection counts as right, also whether the label wins at the image itself, which is a
    hypothesis of its own: radii and this have alpha / 2 each.

    Args:
        vote: classifier and noise.
        images: inside the box.
        selection: counts `[B, O + 1]` of other samples, which choose what is tested.
        sets: one alternative an image, `[B, 1, O]`.
        guarantee: whose radius is meant.
        radii: in increasing order, above 0.
        alpha: probability that anything said about an image is wrong.
        draws: at most so many samples an image.
        key: of the noise.
        how: rule and noise.
        batch_size: samples in one pass.
    """
    two = guarantee.counts_rejection_as_right
    level = alpha / 2 if two else alpha
    selection, members = selection.cpu(), sets.cpu()[:, 0]
    shifts = [radius / vote.sigma for radius in radii]
    means = SampleBudget(level, draws)
    claims = [
        hypotheses_of(selection, members, guarantee, shift, how.rule, means) for shift in shifts
    ]
    if two:
        label = members & (torch.arange(members.shape[1]) < members.shape[1] - 1)
        claims.append(hypotheses_of(selection, label, Local(), 0.0, how.rule, means))
    tests = _tables(claims, level, draws, vote.tv_error(images) or 0.0)
    passed = torch.stack([claim.kind == NONE for claim in claims], 1)
    hopeless = torch.zeros_like(passed)
    many = len(radii)

    def known(rows: Tensor, counts: Tensor, step: int) -> Tensor:
        own = [Hypotheses(*(part[rows] for part in claim)) for claim in claims]
        found = torch.stack([claim.seen(counts[rows]) for claim in own], 1)
        which = tests.which[rows]
        passed[rows] |= (found >= tests.accept[step][which]) & ~hopeless[rows]
        hopeless[rows] |= (found <= tests.give_up[step][which]) & ~passed[rows]
        decided = _decided(passed[rows, :many], hopeless[rows, :many])
        if two:
            decided &= passed[rows, many].all(1) | hopeless[rows, many].any(1)
        return decided

    outcomes = sets.shape[2]
    drawn = draw_until(
        known, vote, images, outcomes, looks=looks_of(draws), key=key, batch_size=batch_size
    )
    grid = torch.tensor([0.0, *radii], dtype=torch.float64)
    radius = grid[_held(passed[:, :many])].to(images.device)
    wins = passed[:, -1].all(1).to(images.device) if two else None
    return Decisions(radius, drawn.samples, drawn.counts, wins)


def _held(passed: Tensor) -> Tensor:
    """Count the radii before the first whose claim is not accepted in full, `[B]`."""
    return passed.all(2).long().cumprod(1).sum(1)


def _decided(passed: Tensor, hopeless: Tensor) -> Tensor:
    """Return for each image whether all claims hold, or the first that does not is given up."""
    held = _held(passed)
    given_up = hopeless.any(2)
    first = given_up.gather(1, held.clamp(max=passed.shape[1] - 1).unsqueeze(1)).squeeze(1)
    return (held == passed.shape[1]) | first


def _tables(claims: list[Hypotheses], level: float, draws: int, error: float) -> _Tests:
    """Return every statement the test of its null; equal nulls share one.

    A null grows by `error`: what is drawn may have so much more probability than what is claimed.
    One that rounds to 1 is out of reach, and so is the largest below it for any number of draws.
    """
    nulls = torch.stack([claim.nulls for claim in claims], 1)
    values, which = nulls.unique(return_inverse=True)
    looks = looks_of(draws)
    empty = [0] * len(looks), [-1] * len(looks)  # passed before the first look
    accept, give_up = [], []
    for null in values.tolist():
        bound = group_sequential(min(null + error, 1 - 1e-15), level, draws) if null > 0 else None
        accept.append(bound.accept if bound else empty[0])
        give_up.append(bound.give_up if bound else empty[1])
    return _Tests(which, torch.tensor(accept).T, torch.tensor(give_up).T)
