"""Full radii from as many samples as it takes to come close to what all of them would give.

The bound of each look has a fraction of alpha of its own, so that stopping at any of them is
allowed: the last has most of it, because it matters most.
"""

from functools import partial

import torch
from torch import Tensor

from surefoot.certify.smoothing.drawing import draw_until
from surefoot.certify.smoothing.fixed import radii_from_counts
from surefoot.certify.smoothing.procedure import Procedure
from surefoot.guarantees import Guarantee
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Images, Sets
from surefoot.uncertainty.vote import Vote

LOOKS = 7
"""The number of samples doubles from look to look."""
LAST = 0.8
"""Fraction of alpha that the last look has; the others share the rest equally."""
LIKELY = 0.05
"""Level of the bounds that tell what more samples could add; costs radius, never truth."""


def radii_within(
    vote: Vote,
    images: Images,
    sets: Sets,
    guarantee: Guarantee,
    *,
    alpha: float,
    draws: int,
    key: tuple[int, ...],
    how: Procedure,
    batch_size: int = 2000,
) -> tuple[Tensor, Tensor, dict[str, object]]:
    """Draw until `draws` samples could hardly add more than `how.tolerance` to a radius.

    Args:
        vote: classifier and noise.
        images: inside the box.
        sets: alternatives `[B, A, O]`, not chosen on these samples.
        guarantee: whose radius is meant.
        alpha: level of the joint claim about an image.
        draws: at most so many samples an image.
        key: of the noise.
        how: rule, tolerance, levels.
        batch_size: samples in one pass.

    Returns:
        radii `[B, A]`, samples `[B]`, and what they rest on, as of `radii_from_counts`.
    """
    turn = partial(radii_from_counts, rule=how.rule)
    looks = sorted({max(draws >> (LOOKS - 1 - k), 1) for k in range(LOOKS)})
    levels = [alpha * (1 - LAST) / max(len(looks) - 1, 1)] * (len(looks) - 1) + [alpha * LAST]
    error, tolerance = vote.tv_error(images) or 0.0, how.tolerance or 0.0
    radii = torch.zeros(sets.shape[:2], dtype=torch.float64)
    accepted = torch.zeros(len(images), dtype=torch.bool)
    sets = sets.cpu()

    def known(rows: Tensor, counts: Tensor, step: int) -> Tensor:
        own, level = counts[rows], levels[step]
        found, more = turn(own, sets[rows], guarantee, vote.sigma, level, error=error)
        radii[rows] = found
        accepted[rows] = torch.as_tensor(more.get("accepted", False)).expand(len(rows))
        hope = torch.zeros_like(found)
        for place in range(sets.shape[1]):
            one = sets[rows, place : place + 1]
            hopeful = _hopeful(own, one[:, 0], looks[step], draws)
            hope[:, place] = turn(
                hopeful, one, guarantee, vote.sigma, levels[-1], error=error, trials=draws
            )[0][:, 0]
        return hope.amax(1) - found.amax(1) <= tolerance

    drawn = draw_until(
        known, vote, images, sets.shape[2], looks=looks, key=key, batch_size=batch_size
    )
    spent = f"{1 - LAST:.2g} of it over the first {len(looks) - 1} of {len(looks)} looks"
    details: dict[str, object] = {
        "error_budget": f"alpha over all looks ({spent}); within a look, as without a tolerance",
        "counts": drawn.counts.to(images.device),
    }
    if guarantee.quantifier == "some" and how.rule == "argmax":
        details["accepted"] = accepted.to(images.device)
    return radii.to(images.device), drawn.samples, details


def _hopeful(counts: Tensor, members: Tensor, look: int, draws: int) -> Tensor:
    """Return the counts that all draws may show at best: members high, others low."""
    inside = torch.cat([members, torch.zeros_like(members[:, :1])], 1)
    own = counts.masked_fill(~inside, 0).sum(1, keepdim=True)
    gain = upper_bound(own, look, LIKELY) / own.clamp(min=1)
    found = torch.where(inside, counts * gain, lower_bound(counts, look, LIKELY))
    return (draws * found).round().clamp(0, draws)
