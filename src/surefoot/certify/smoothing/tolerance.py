"""Full radii from as many samples as it takes to come close to what all of them would give.

The bound of each look has a fraction of alpha of its own, so that stopping at any of them is
allowed: the last has most of it, because it matters most.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.certify.smoothing.drawing import draw_until
from surefoot.certify.smoothing.fixed import radii_from_counts
from surefoot.certify.smoothing.sampling import CERTIFY, Sampling
from surefoot.guarantees import Guarantee
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Images, Sets
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Vote

LOOKS = 7
"""The number of samples doubles from look to look."""
LAST = 0.8
"""Fraction of alpha that the last look has; the others share the rest equally."""
LIKELY = 0.05
"""Level of the bounds that estimate what more samples could add; costs radius, never soundness."""


def radii_within(
    vote: Vote, images: Images, sets: Sets, guarantee: Guarantee, sampling: Sampling
) -> tuple[Tensor, Tensor, dict[str, object]]:
    """Draw until all samples could hardly add more than `sampling.tolerance` to a radius.

    Args:
        vote: classifier and noise.
        images: inside the box.
        sets: alternatives `[B, A, O]`, not chosen on these samples.
        guarantee: whose radius is meant.
        sampling: level, most samples and tolerance.

    Returns:
        radii `[B, A]`, samples `[B]`, and what they rest on, as of `radii_from_counts`.
    """
    draws, alpha, sets = sampling.n_certify, sampling.alpha, sets.cpu()
    looks = sorted({max(draws >> (LOOKS - 1 - k), 1) for k in range(LOOKS)})
    levels = [alpha * (1 - LAST) / max(len(looks) - 1, 1)] * (len(looks) - 1) + [alpha * LAST]
    how = {"rule": vote.rule, "error": vote.tv_error(images) or 0.0}
    radii = torch.zeros(sets.shape[:2], dtype=torch.float64)
    accepted = torch.zeros(len(images), dtype=torch.bool)

    def decided(rows: Tensor, counts: Counts, step: int) -> Tensor:
        found, more = radii_from_counts(
            counts, sets[rows], guarantee, vote.sigma, levels[step], **how
        )
        radii[rows] = found
        accepted[rows] = torch.as_tensor(more.get("accepted", False)).expand(len(rows))
        largest = []
        for one in sets[rows].split(1, dim=1):
            optimistic = _optimistic(counts, one[:, 0], looks[step], draws)
            most, _ = radii_from_counts(
                optimistic, one, guarantee, vote.sigma, levels[-1], trials=draws, **how
            )
            largest.append(most)
        return torch.cat(largest, 1).amax(1) - found.amax(1) <= (sampling.tolerance or 0.0)

    counts, samples = draw_until(decided, vote, images, CERTIFY, looks, sampling)
    spent = f"{1 - LAST:.2g} of it over the first {len(looks) - 1} of {len(looks)} looks"
    details: dict[str, object] = {
        "error_budget": f"alpha over all looks ({spent}); within a look, as without a tolerance",
        "counts": counts.to(images.device),
    }
    if guarantee.quantifier == "some" and vote.rule == "argmax":
        details["accepted"] = accepted.to(images.device)
    return radii.to(images.device), samples, details


def _optimistic(counts: Counts, members: Tensor, look: int, draws: int) -> Counts:
    """Return the counts that all draws may show at best: members high, others low."""
    inside, table = pad(members, (0, 1)), counts.table
    own = table.masked_fill(~inside, 0).sum(1, keepdim=True)
    gain = upper_bound(own, look, LIKELY) / own.clamp(min=1)
    found = torch.where(inside, table * gain, lower_bound(table, look, LIKELY))
    return Counts.of((draws * found).round().clamp(0, draws), counts.uncertain is not None)
