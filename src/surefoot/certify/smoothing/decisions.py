"""Decisions at given radii: draw until every one is sure, and no longer.

All radii of an image share its copies and need no split of alpha: the claims are nested, and are
believed only up to the first that fails (fixed-sequence testing). Images whose claims are decided
leave the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.smoothing.claims import Claim, Rule, claim_of
from surefoot.guarantees import Guarantee, LabelOrUncertain, Local
from surefoot.progress import track
from surefoot.stats import group_sequential
from surefoot.types import Images, Sets
from surefoot.uncertainty.vote import Vote


class Decisions(NamedTuple):
    """What was decided.

    Args:
        radius: `[B]`, the largest radius up to which every claim was accepted, or 0.
        samples: `[B]`, copies used.
        counts: `[B, O + 1]`, of those copies.
        accepted: `[B]`, whether surely a label wins at the image; None where the radius says so.
    """

    radius: Tensor
    samples: Tensor
    counts: Tensor
    accepted: Tensor | None


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
    rule: Rule = "argmax",
    batch_size: int = 2000,
) -> Decisions:
    """Decide for each image which radii hold.

    For `LabelOrUncertain` also whether the label wins at the image itself, which is a claim of its
    own: radii and this have alpha / 2 each.

    Args:
        vote: classifier and noise.
        images: inside the box.
        selection: counts `[B, O + 1]` of other copies, which choose what is tested.
        sets: one alternative an image, `[B, 1, O]`.
        guarantee: whose radius is meant.
        radii: in increasing order, above 0.
        alpha: probability that anything said about an image is wrong.
        draws: at most so many copies an image.
        key: of the noise.
        rule: "argmax" or "majority".
        batch_size: copies in one pass.
    """
    two = isinstance(guarantee, LabelOrUncertain)
    level = alpha / 2 if two else alpha
    claims = []
    for row, members in zip(selection.cpu(), sets.cpu()[:, 0], strict=True):
        claims.append([claim_of(row, members, guarantee, r / vote.sigma, rule) for r in radii])
        if two:
            label = members & (torch.arange(len(members)) < len(members) - 1)
            claims[-1].append(claim_of(row, label, Local(), 0.0, rule))
    events, accept, give_up = _tables(claims, level, draws)
    counts = torch.zeros_like(selection.cpu())
    samples = torch.zeros(len(images), dtype=torch.long)
    passed = torch.zeros(events.shape[:3], dtype=torch.bool)
    hopeless = torch.zeros_like(passed)
    rows, seen = torch.arange(len(images)), 0
    looks = group_sequential(0.5, alpha, draws).looks
    for step, look in enumerate(track(looks, "decide", len(looks))):
        if not len(rows):
            break
        fresh = vote.increments(images[rows], look - seen, *key, step, batch_size=batch_size)
        counts[rows] += fresh.cpu()
        samples[rows], seen = look, look
        found = torch.einsum("brto,bo->brt", events[rows], counts[rows].double())
        passed[rows] |= (found >= accept[step][rows]) & ~hopeless[rows]
        hopeless[rows] |= (found <= give_up[step][rows]) & ~passed[rows]
        many = len(radii)
        known = _decided(passed[rows, :many], hopeless[rows, :many])
        if two:
            known &= passed[rows, many].all(1) | hopeless[rows, many].any(1)
        rows = rows[~known]
    grid = torch.tensor([0.0, *radii], dtype=torch.float64)
    radius = grid[_held(passed[:, : len(radii)])].to(images.device)
    wins = passed[:, -1].all(1).to(images.device) if two else None
    return Decisions(radius, samples, counts, wins)


def _held(passed: Tensor) -> Tensor:
    """Count the radii before the first whose claim is not accepted in full, `[B]`."""
    return passed.all(2).long().cumprod(1).sum(1)


def _decided(passed: Tensor, hopeless: Tensor) -> Tensor:
    """Say for each image whether all claims hold, or the first that does not is given up."""
    held = _held(passed)
    given_up = hopeless.any(2)
    first = given_up.gather(1, held.clamp(max=passed.shape[1] - 1).unsqueeze(1)).squeeze(1)
    return (held == passed.shape[1]) | first


def _tables(
    claims: list[list[Claim]], level: float, draws: int
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Lay the tests of all images and radii out: events `[B, R, T, O + 1]`, bounds of each look.

    A place without a test has the empty event, which passes at once.
    """
    many = max(len(claim.nulls) for row in claims for claim in row)
    outcomes = claims[0][0].events.shape[1]
    shape = (len(claims), len(claims[0]), many)
    events = torch.zeros(*shape, outcomes, dtype=torch.float64)
    which = torch.zeros(shape, dtype=torch.long)
    tables: dict[float, int] = {}
    bounds = []
    for b, row in enumerate(claims):
        for r, claim in enumerate(row):
            events[b, r, : len(claim.nulls)] = claim.events.double()
            for t, null in enumerate(claim.nulls.tolist()):
                # A null that rounds to 1 is out of reach, and so is this for any number of draws.
                bar = min(null, 1 - 1e-15)
                if bar not in tables:
                    tables[bar] = len(tables) + 1
                    bounds.append(group_sequential(bar, level, draws))
                which[b, r, t] = tables[bar]
    looks = range(len(group_sequential(0.5, 0.5, draws).looks))
    accept = [torch.tensor([0, *(bound.accept[k] for bound in bounds)])[which] for k in looks]
    give_up = [torch.tensor([-1, *(bound.give_up[k] for bound in bounds)])[which] for k in looks]
    return events, accept, give_up
