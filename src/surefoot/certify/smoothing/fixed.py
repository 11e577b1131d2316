r"""Radii from a table of counts of a fixed number of noise samples, for every guarantee.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). The sets are
fixed on other samples than those counted here. A competitor's bound is at the level of one bound,
not of one bound a competitor: only the true strongest competitor can make the claim false
(intersection-union). A maximum over several pairs (alternatives, subsets) is a union of failure
events, and pays for each.

Each claim "radius >= R" holds with probability at least 1 - alpha, for each image on its own.
"""

from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.guarantees import Guarantee, smoothed_radius, tolerated_shift
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Sets
from surefoot.uncertainty.vote import Rule


def largest_radius(sigma: float, n_certify: int, alpha: float, *, bounds: int = 2) -> float:
    r"""Return the radius that a vote of all samples for one outcome would certify, for `Local`.

    $$ \sigma \Phi^{-1}((\alpha / m)^{1 / n}) $$
    with m the bounds that fraction alpha: 2 for full radii of the rule argmax; with 1 no decision
    and no radius of the rule majority reaches further.
    """
    low = lower_bound(torch.tensor([float(n_certify)]), n_certify, alpha / bounds)
    return sigma * tolerated_shift(low, 1 - low).item()


class Bounds(NamedTuple):
    """Bounds on the probabilities that decide about alternatives, all of them at once.

    Args:
        members: `[B, A, M]`, lower bounds on groups of members.
        competitor: `[B, A]`, upper bound on any outcome outside.
        sizes: outcomes in each group.
        budget: how alpha is spent, in words.
        accepted: `[B]`, whether a label wins at the image itself, certain together with the rest;
            None where the radius says so.
    """

    members: Tensor
    competitor: Tensor
    sizes: tuple[int, ...] = (1,)
    budget: str = ""
    accepted: Tensor | None = None


def radii_from_counts(
    counts: Tensor,
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
    for elsewhere that classifier answers "uncertain", and a wrong label needs half.

    Args:
        counts: `[B, O + 1]`; the last column counts samples without a finite outcome, which compete
            with every set. Rows must have equal sums.
        sets: alternatives `[B, A, O]`, not chosen on these counts; one for the rule "majority".
        guarantee: gives the quantifier.
        sigma: of the noise.
        alpha: level of the joint statement.
        rule: see `Rule`.
        error: how far any probability of the drawn noise may be from that of Gaussian noise.
        trials: samples; None: the sum of a row.

    Returns:
        radii `[B, A]`, and what they rest on.
    """
    inside = torch.cat([sets, torch.zeros_like(sets[:, :, :1])], 2)
    count = _Counted(counts, int(counts[0].sum()) if trials is None else trials, error)
    if rule == "majority":
        bounds = _of_half(count, inside, guarantee, alpha)
    elif guarantee.quantifier == "every":
        bounds = _every(count, inside, alpha)
    else:
        bounds = _some(count, inside, alpha)
    sizes = torch.tensor(bounds.sizes, device=counts.device)
    radii = smoothed_radius(bounds.members, bounds.competitor, sigma, sizes)
    details: dict[str, object] = {"error_budget": bounds.budget}
    if bounds.accepted is not None:
        details["accepted"] = bounds.accepted
    return torch.where(inside.any(2), radii, 0.0), details


class _Counted(NamedTuple):
    """Counts, and Clopper-Pearson bounds from them, moved outwards by the error of the noise."""

    counts: Tensor
    trials: int
    error: float

    def low(self, level: float, counts: Tensor | None = None) -> Tensor:
        # Unions of hopeful counts are rounded (`tolerance`).
        counts = (self.counts if counts is None else counts).clamp(max=self.trials)
        return (lower_bound(counts, self.trials, level) - self.error).clamp(min=0)

    def high(self, level: float) -> Tensor:
        return (upper_bound(self.counts, self.trials, level) + self.error).clamp(max=1)


def _of_half(count: _Counted, inside: Tensor, guarantee: Guarantee, alpha: float) -> Bounds:
    """One bound at level alpha (several outcomes: intersection-union); what is left competes."""
    if guarantee.quantifier == "every":
        held = count.low(alpha).masked_fill(~inside[:, 0], 0.0).amax(1)
    else:
        held = 1 - count.high(alpha).masked_fill(inside[:, 0], 0.0).amax(1)
    held = held.unsqueeze(1)
    return Bounds(held.unsqueeze(2), 1 - held, budget="alpha for the one bound of each radius")


def _every(count: _Counted, inside: Tensor, alpha: float) -> Bounds:
    """Two bounds for each alternative: its weakest member and its strongest outcome outside."""
    pairs = inside.any(2).sum(1).clamp(min=1)
    members = torch.zeros(inside.shape[:2], dtype=torch.float64, device=inside.device)
    competitor = torch.ones_like(members)
    for many in pairs.unique().tolist():
        rows = pairs == many
        own = count._replace(counts=count.counts[rows])
        level = alpha / (2 * many)
        members[rows] = own.low(level).unsqueeze(1).masked_fill(~inside[rows], 1.0).amin(2)
        competitor[rows] = own.high(level).unsqueeze(1).masked_fill(inside[rows], 0.0).amax(2)
    budget = "alpha / (2 m) for each bound, m available alternatives"
    return Bounds(members.unsqueeze(2), competitor, budget=budget)


def _some(count: _Counted, inside: Tensor, alpha: float) -> Bounds:
    """Bound every subset of {label, uncertain} by its own count; all others by one bound.

    One more bound, on "uncertain", says jointly whether a label wins at the image itself.
    """
    members = inside[:, 0].float().topk(2, dim=1).indices.sort(1).values
    subsets = list(chain.from_iterable(combinations(range(2), size) for size in (1, 2)))
    level = alpha / (len(subsets) + 2)
    own, high = count.counts.gather(1, members), count.high(level)
    competitor = high.masked_fill(inside[:, 0], 0.0).amax(1)
    lows = [count.low(level, own[:, list(subset)].sum(1)) for subset in subsets]
    uncertain = high[:, count.counts.shape[1] - 2]
    return Bounds(
        torch.stack(lows, 1).unsqueeze(1),
        competitor.unsqueeze(1),
        tuple(len(subset) for subset in subsets),
        "alpha / 5 for each bound",
        lows[0] > torch.maximum(uncertain, competitor),
    )
