r"""Radii from a table of counts of a fixed number of noisy copies, for every guarantee.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). The sets are
fixed on other copies than those counted here. A rival's bound is at the level of one bound, not of
one bound a rival: only the true strongest rival can make the claim false (intersection-union). A
maximum over several pairs (alternatives, subsets) is a union of failure events, and pays for each.

Each claim "radius >= R" holds with probability at least 1 - alpha, for each image on its own.
"""

from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.guarantees import Guarantee, tolerated_shift
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Sets


def largest_radius(sigma: float, n_certify: int, alpha: float, *, bounds: int = 2) -> float:
    r"""Give the radius that a vote of all copies for one outcome would certify, for `Local`.

    $$ \sigma \Phi^{-1}((\alpha / m)^{1 / n}) $$
    with m the bounds that share alpha: 2 for full radii of the rule argmax; with 1 no decision and
    no radius of the rule majority reaches further.
    """
    low = lower_bound(torch.tensor([float(n_certify)]), n_certify, alpha / bounds)
    return sigma * tolerated_shift(low, 1 - low).item()


def radii_from_counts(
    counts: Tensor,
    sets: Sets,
    guarantee: Guarantee,
    sigma: float,
    alpha: float,
    *,
    error: float = 0.0,
    trials: int | None = None,
) -> tuple[Tensor, dict[str, object]]:
    """Turn counts into radii that hold together, over all alternatives, at level alpha.

    Args:
        counts: `[B, O + 1]`; the last column counts copies without a finite outcome, a rival of
            every set. Rows must have equal sums.
        sets: alternatives `[B, A, O]`, not chosen on these counts.
        guarantee: gives the quantifier.
        sigma: of the noise.
        alpha: level of the joint claim.
        error: how far any mass of the drawn noise may be from that of Gaussian noise.
        trials: copies; None: the sum of a row.

    Returns:
        radii `[B, A]`, and what they rest on.
    """
    inside = torch.cat([sets, torch.zeros_like(sets[:, :, :1])], 2)
    bounds = _Bounds(int(counts[0].sum()) if trials is None else trials, error)
    turn = _every if guarantee.quantifier == "every" else _some
    return turn(counts, inside, bounds, sigma, alpha)


def majority_radii(
    counts: Tensor,
    sets: Sets,
    guarantee: Guarantee,
    sigma: float,
    alpha: float,
    *,
    error: float = 0.0,
    trials: int | None = None,
) -> tuple[Tensor, dict[str, object]]:
    r"""Turn counts into radii of the rule "a label only with more than half of the mass".

    $$ every, S = \{A\}: \; \sigma \Phi^{-1}(p_A), \qquad
       some, S = \{A, U\}: \; -\sigma \Phi^{-1}(\max_{B \ne A} p_B) $$
    Elsewhere this classifier answers "uncertain", so a wrong label needs half of the mass. Each
    radius is one binomial statement at level alpha (the second by intersection-union).

    Args:
        counts: as in `radii_from_counts`.
        sets: one alternative an image.
        guarantee: `Local` or `LabelOrUncertain`.
        sigma: of the noise.
        alpha: level of the claim about an image.
        error: as in `radii_from_counts`.
        trials: as in `radii_from_counts`.
    """
    bounds = _Bounds(int(counts[0].sum()) if trials is None else trials, error)
    inside = torch.cat([sets[:, 0], torch.zeros_like(sets[:, 0, :1])], 1)
    if guarantee.quantifier == "every":
        lead = bounds.low(counts, alpha).masked_fill(~inside, 0.0).amax(1)
    else:
        lead = 1 - bounds.high(counts, alpha).masked_fill(inside, 0.0).amax(1)
    radius = sigma * tolerated_shift(lead, 1 - lead)
    held = torch.where(inside.any(1), radius, 0.0).unsqueeze(1)
    return held, {"ledger": "alpha for the one bound that each radius needs"}


class _Bounds(NamedTuple):
    """Clopper-Pearson bounds of masses; each moved outwards by the error of the noise."""

    trials: int
    error: float

    def low(self, counts: Tensor, level: float) -> Tensor:
        counts = counts.clamp(max=self.trials)  # unions of hopeful counts are rounded, `tolerance`
        return (lower_bound(counts, self.trials, level) - self.error).clamp(min=0)

    def high(self, counts: Tensor, level: float) -> Tensor:
        return (upper_bound(counts, self.trials, level) + self.error).clamp(max=1)


def _every(
    counts: Tensor, inside: Tensor, bounds: _Bounds, sigma: float, alpha: float
) -> tuple[Tensor, dict[str, object]]:
    """Two bounds for each alternative: its weakest member and its strongest outsider."""
    pairs = inside.any(2).sum(1).clamp(min=1)
    shift = torch.zeros(inside.shape[:2], dtype=torch.float64, device=counts.device)
    for many in pairs.unique().tolist():
        rows = pairs == many
        level = alpha / (2 * many)
        low = bounds.low(counts[rows], level)
        high = bounds.high(counts[rows], level)
        member = low.unsqueeze(1).masked_fill(~inside[rows], 1.0).amin(2)
        rival = high.unsqueeze(1).masked_fill(inside[rows], 0.0).amax(2)
        shift[rows] = tolerated_shift(member, torch.minimum(rival, 1 - member))
    radii = torch.where(inside.any(2), sigma * shift, 0.0)
    return radii, {"ledger": "alpha / (2 m) for each bound, m available alternatives"}


def _some(
    counts: Tensor, inside: Tensor, bounds: _Bounds, sigma: float, alpha: float
) -> tuple[Tensor, dict[str, object]]:
    """Bound every subset of {label, uncertain} by its own count; the rival by one bound.

    One more bound, on "uncertain", says jointly whether a label wins at the image itself.
    """
    members = inside[:, 0].float().topk(2, dim=1).indices.sort(1).values
    subsets = list(chain.from_iterable(combinations(range(2), size) for size in (1, 2)))
    level = alpha / (len(subsets) + 2)
    own = counts.gather(1, members)
    high = bounds.high(counts, level)
    rival = high.masked_fill(inside[:, 0], 0.0).amax(1)
    shifts = []
    for subset in subsets:
        low = bounds.low(own[:, list(subset)].sum(1), level)
        shifts.append(tolerated_shift(low, torch.minimum(rival, 1 - low), len(subset)))
    label_low = bounds.low(own[:, 0], level)
    uncertain = counts.shape[1] - 2
    accepted = label_low > torch.maximum(high[:, uncertain], rival)
    radii = sigma * torch.stack(shifts).amax(0)
    radii = torch.where(inside[:, 0].any(1), radii, 0.0).unsqueeze(1)
    return radii, {"ledger": "alpha / 5 for each bound", "accepted": accepted}
