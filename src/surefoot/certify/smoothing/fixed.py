r"""Radii from counts of a fixed number of noise samples, for every guarantee.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). The sets are
fixed on other samples than those counted here. A competitor's bound is at the level of one bound,
not of one bound a competitor: only the true strongest competitor can make the radius false
(intersection-union). A maximum over several pairs (alternatives, subsets) is a union of failure
events, and pays for each.

Each statement "radius >= R" holds with probability at least 1 - alpha, for each image on its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.guarantees import Guarantee, smoothed_radius, tolerated_shift
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Sets
from surefoot.uncertainty import majority
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Rule


def largest_radius(sigma: float, n_certify: int, alpha: float, *, bounds: int = 2) -> float:
    r"""Return the radius that a vote of all samples for one outcome would certify, for `Local`.

    $$ \sigma \Phi^{-1}((\alpha / m)^{1 / n}) $$
    with m the bounds that share alpha: 2 for full radii of the rule argmax; with 1 no decision and
    no radius of the rule majority is larger.
    """
    low = lower_bound(torch.tensor([float(n_certify)]), n_certify, alpha / bounds)
    return sigma * tolerated_shift(low, 1 - low).item()


class _Bounds(NamedTuple):
    """Bounds on the probabilities that decide about alternatives, all of them at once.

    Args:
        members: `[B, A, M]`, lower bounds on groups of members.
        competitor: `[B, A]`, upper bound on any outcome outside.
        budget: how alpha is spent, in words.
        sizes: outcomes in each group.
        accepted: `[B]`, whether a label wins at the image itself, certain together with the rest;
            None where the radius implies it.
    """

    members: Tensor
    competitor: Tensor
    budget: str
    sizes: tuple[int, ...] = (1,)
    accepted: Tensor | None = None


class ClopperPearson(NamedTuple):
    """Clopper-Pearson bounds from so many trials, moved outwards by the error of the noise."""

    trials: int
    error: float

    def low(self, counts: Tensor, level: float) -> Tensor:
        """Bound probabilities from below."""
        # Unions of optimistic counts are rounded (`tolerance`).
        bound = lower_bound(counts.clamp(max=self.trials), self.trials, level)
        return (bound - self.error).clamp(min=0)

    def high(self, counts: Tensor, level: float) -> Tensor:
        """Bound probabilities from above."""
        return (upper_bound(counts, self.trials, level) + self.error).clamp(max=1)


def radii_from_counts(
    counts: Counts,
    sets: Sets,
    guarantee: Guarantee,
    sigma: float,
    alpha: float,
    *,
    rule: Rule = "argmax",
    error: float = 0.0,
    trials: int | None = None,
) -> tuple[Tensor, dict[str, object]]:
    r"""Turn counts into radii that hold together, over all alternatives, at level alpha.

    Under the rule "majority" (a label only with more than half of the probability)
    $$ every, S = \{A\}: \; \sigma \Phi^{-1}(p_A), \qquad
       some, S = \{A, U\}: \; -\sigma \Phi^{-1}(\max_{B \ne A} p_B) $$
    for elsewhere that classifier predicts "uncertain", and a wrong label needs half.

    Args:
        counts: equally many samples of each image.
        sets: alternatives `[B, A, O]`, not chosen on these counts; one for the rule "majority".
        guarantee: gives the quantifier.
        sigma: of the noise.
        alpha: level of the joint statement.
        rule: see `Rule`.
        error: how far any probability of the drawn noise may be from that of Gaussian noise.
        trials: samples; None: those of the first image.

    Returns:
        radii `[B, A]`, and what they rest on.
    """
    inside = pad(sets, (0, 1))  # broken samples are never inside
    bounded = ClopperPearson(int(counts.samples[0]) if trials is None else trials, error)
    if rule == "majority":
        bounds = _of_half(counts, bounded, inside, guarantee, alpha)
    elif guarantee.quantifier == "every":
        bounds = _every(counts, bounded, inside, alpha)
    else:
        bounds = _some(counts, bounded, inside, alpha)
    sizes = torch.tensor(bounds.sizes, device=inside.device)
    radii = smoothed_radius(bounds.members, bounds.competitor, sigma, sizes)
    details: dict[str, object] = {"error_budget": bounds.budget}
    if bounds.accepted is not None:
        details["accepted"] = bounds.accepted
    return torch.where(inside.any(2), radii, 0.0), details


def _of_half(
    counts: Counts, bounded: ClopperPearson, inside: Tensor, guarantee: Guarantee, alpha: float
) -> _Bounds:
    """One bound at level alpha (several outcomes: intersection-union); what is left competes."""
    against = guarantee.counts_rejection_as_right
    events, needed = majority.kept_by_half(counts.table, inside[:, 0], against)
    held = bounded.low(events, alpha).masked_fill(~needed, 1.0).amin(1).view(-1, 1, 1)
    return _Bounds(held, 1 - held[:, :, 0], "alpha for the one bound of each radius")


def _every(counts: Counts, bounded: ClopperPearson, inside: Tensor, alpha: float) -> _Bounds:
    """Two bounds for each alternative: its weakest member and its strongest outcome outside."""
    pairs = inside.any(2).sum(1).clamp(min=1)
    members = torch.zeros(inside.shape[:2], dtype=torch.float64, device=inside.device)
    competitor = torch.ones_like(members)
    for many in pairs.unique().tolist():
        rows, level = pairs == many, alpha / (2 * many)
        own = counts.table[rows].unsqueeze(1)
        members[rows] = bounded.low(own, level).masked_fill(~inside[rows], 1.0).amin(2)
        competitor[rows] = bounded.high(own, level).masked_fill(inside[rows], 0.0).amax(2)
    budget = "alpha / (2 m) for each bound, m available alternatives"
    return _Bounds(members.unsqueeze(2), competitor, budget)


def _some(counts: Counts, bounded: ClopperPearson, inside: Tensor, alpha: float) -> _Bounds:
    """Bound every subset of {label, uncertain} by its own count; all others by one bound.

    One more bound, on "uncertain", implies jointly whether a label wins at the image itself.
    """
    members, level = inside[:, 0].float().topk(2, dim=1).indices.sort(1).values, alpha / 5
    label, uncertain = counts.table.gather(1, members).unbind(1)
    subsets = torch.stack([label, uncertain, label + uncertain], 1)
    lows, high = bounded.low(subsets, level), bounded.high(counts.table, level)
    competitor = high.masked_fill(inside[:, 0], 0.0).amax(1)
    wins = lows[:, 0] > torch.maximum(bounded.high(uncertain, level), competitor)
    return _Bounds(
        lows.unsqueeze(1), competitor.unsqueeze(1), "alpha / 5 for each bound", (1, 1, 2), wins
    )
