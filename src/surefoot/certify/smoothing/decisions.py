"""Decisions at given radii: draw until every one is certain, and no longer.

All radii of an image share its samples and need no split of alpha: the hypotheses are nested, and
are accepted only up to the first that fails (fixed-sequence testing). Images whose hypotheses are
decided leave the batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.smoothing.drawing import draw_until
from surefoot.certify.smoothing.hypotheses import NONE, Hypotheses, SampleBudget, hypotheses_of
from surefoot.certify.smoothing.sampling import DECIDE, Sampling
from surefoot.guarantees import Guarantee, Local
from surefoot.stats import group_sequential, looks_of
from surefoot.types import Images, Sets
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote


class Decisions(NamedTuple):
    """What was decided.

    Attributes:
        radius: `[B]`, the largest radius up to which every hypothesis was accepted, or 0.
        samples: `[B]`, samples used.
        details: what that rests on; with `accepted` `[B]`, whether a label certainly wins at the
            image, where the radius does not imply it.
    """

    radius: Tensor
    samples: Tensor
    details: dict[str, object]


class _Tests(NamedTuple):
    which: Tensor  # [B, R, O + 1] number of the test of each statement
    accept: Tensor  # [looks, tests]
    give_up: Tensor


def decide(
    vote: Vote,
    images: Images,
    selection: Counts,
    sets: Sets,
    guarantee: Guarantee,
    sampling: Sampling,
) -> Decisions:
    """Decide for each image which radii hold.

    Where a rejection counts as right, also whether the label wins at the image itself, which is a
    hypothesis of its own: radii and this have alpha / 2 each.

    Args:
        vote: classifier and noise.
        images: inside the box.
        selection: counts of other samples, which choose what is tested.
        sets: one alternative an image, `[B, 1, O]`.
        guarantee: whose radius is meant.
        sampling: radii, level and most samples.
    """
    two, radii, draws = guarantee.counts_rejection_as_right, sampling.grid, sampling.n_certify
    level = sampling.alpha / 2 if two else sampling.alpha
    table, members, budget = selection.table.cpu(), sets.cpu()[:, 0], SampleBudget(level, draws)
    tested = [
        hypotheses_of(table, members, guarantee, radius / vote.sigma, vote.rule, budget)
        for radius in radii
    ]
    if two:
        label = members.clone()
        label[:, -1] = False
        tested.append(hypotheses_of(table, label, Local(), 0.0, vote.rule, budget))
    tests = _tables(tested, level, draws, vote.tv_error(images) or 0.0)
    passed = torch.stack([one.kind == NONE for one in tested], 1)
    hopeless, many = torch.zeros_like(passed), len(radii)

    def decided(rows: Tensor, counts: Counts, step: int) -> Tensor:
        own = [Hypotheses(*(part[rows] for part in one)) for one in tested]
        found = torch.stack([one.seen(counts.table) for one in own], 1)
        which = tests.which[rows]
        passed[rows] |= (found >= tests.accept[step][which]) & ~hopeless[rows]
        hopeless[rows] |= (found <= tests.give_up[step][which]) & ~passed[rows]
        known = _decided(passed[rows, :many], hopeless[rows, :many])
        if two:
            known &= passed[rows, many].all(1) | hopeless[rows, many].any(1)
        return known

    counts, samples = draw_until(decided, vote, images, DECIDE, looks_of(draws), sampling)
    grid = torch.tensor([0.0, *radii], dtype=torch.float64)
    spent = "alpha for all radii together (nested hypotheses), and for each test of a part"
    details: dict[str, object] = {"counts": counts.to(images.device), "radii": radii}
    details["error_budget"] = f"{spent}; with acceptance half" if two else spent
    if two:
        details["accepted"] = passed[:, -1].all(1).to(images.device)
    return Decisions(grid[_held(passed[:, :many])].to(images.device), samples, details)


def _held(passed: Tensor) -> Tensor:
    """Count the radii before the first whose hypothesis is not accepted in full, `[B]`."""
    return passed.all(2).long().cumprod(1).sum(1)


def _decided(passed: Tensor, hopeless: Tensor) -> Tensor:
    """Return for each image whether all hypotheses hold, or the first that does not is given up."""
    held = _held(passed)
    given_up = hopeless.any(2)
    first = given_up.gather(1, held.clamp(max=passed.shape[1] - 1).unsqueeze(1)).squeeze(1)
    return (held == passed.shape[1]) | first


def _tables(tested: list[Hypotheses], level: float, draws: int, error: float) -> _Tests:
    """Return every statement the test of its null; equal nulls share one.

    A null grows by `error`: what is drawn may have so much more probability than what is tested.
    One that rounds to 1 is out of reach, and so is the largest below it for any number of draws.
    """
    nulls = torch.stack([one.nulls for one in tested], 1)
    values, which = nulls.unique(return_inverse=True)
    looks = looks_of(draws)
    empty = [0] * len(looks), [-1] * len(looks)  # passed before the first look
    accept, give_up = [], []
    for null in values.tolist():
        bound = group_sequential(min(null + error, 1 - 1e-15), level, draws) if null > 0 else None
        accept.append(bound.accept if bound else empty[0])
        give_up.append(bound.give_up if bound else empty[1])
    return _Tests(which, torch.tensor(accept).T, torch.tensor(give_up).T)
