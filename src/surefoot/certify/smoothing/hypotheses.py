r"""A radius as a conjunction of statements "this set of outcomes has more probability than that".

Each statement is about one binomial proportion, so exact sequential tests serve it. The radius of a
guarantee depends on two probabilities, of a member and of a competitor; where the two meet is
chosen on the selection samples, and is fixed before the samples that decide are drawn:

$$ p_S > a, \; p_B < b \text{ for every competitor } B, \qquad
   \Phi(\Phi^{-1}(a) - \rho) / m = \Phi(\Phi^{-1}(b) + \rho), \quad \rho = r / \sigma $$
Every statement is tested at level alpha: if the radius does not hold, one of them is false, and is
accepted with probability at most alpha (intersection-union). Where the first statement implies the
others ($b \ge 1 - a$), it is the only one.

Each image has one place a statement, for each outcome one.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from surefoot.guarantees import Guarantee
from surefoot.types import Sets
from surefoot.uncertainty import majority
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.vote import Rule

GRID = 65
"""Places at which the two probabilities may meet: few, as each needs a test table of its own."""
NONE, ITSELF, OTHERS, UNION = range(4)
"""What a statement counts: nothing (it is empty), its outcome, all others, or the union."""


class Hypotheses(NamedTuple):
    """What must hold for each image at one radius, all of it.

    Args:
        kind: what each statement counts, `[B, O + 1]`.
        nulls: the probability that this must exceed, `[B, O + 1]`; 0 for empty statements.
        union: the outcomes that statements of the kind UNION count, `[B, O + 1]`.
    """

    kind: Tensor
    nulls: Tensor
    union: Tensor

    def seen(self, counts: Tensor) -> Tensor:
        """Count what each statement is about, `[B, O + 1]`; an empty one sees nothing."""
        total = counts.sum(1, keepdim=True)
        joined = counts.masked_fill(~self.union, 0).sum(1, keepdim=True)
        own = torch.where(self.kind == ITSELF, counts, 0)
        own = torch.where(self.kind == OTHERS, total - counts, own)
        return torch.where(self.kind == UNION, joined, own)


def chosen(selection: Counts, sets: Sets) -> Tensor:
    """Choose one alternative for each image: the one whose probabilities are furthest apart, `[B]`.

    Args:
        selection: counts of the selection samples.
        sets: alternatives `[B, A, O]`.
    """
    # Of few samples: no probability is estimated as 0 or 1.
    table, inside = selection.table.double(), pad(sets, (0, 1))
    prior, total = 0.5 / table.shape[1], table.sum(1, keepdim=True)
    fractions = ((table + prior) / (total + 0.5)).unsqueeze(1)
    member = torch.special.ndtri(fractions.masked_fill(~inside, 1.0).amin(2))
    competitor = torch.special.ndtri(fractions.masked_fill(inside, 0.0).amax(2))
    return (member - competitor).masked_fill(~sets.any(2), -torch.inf).argmax(1)


class SampleBudget(NamedTuple):
    """What a test may use; it decides which statements are cheapest.

    Args:
        alpha: level.
        draws: most samples.
    """

    alpha: float
    draws: int


def hypotheses_of(
    table: Tensor,
    members: Tensor,
    guarantee: Guarantee,
    shift: float,
    rule: Rule,
    budget: SampleBudget,
) -> Hypotheses:
    """Describe what must hold for each image at one radius.

    An alternative that is not available needs what cannot be: that no outcome has probability.

    Args:
        table: counts of the selection samples, `Counts.table`.
        members: the alternatives, `[B, O]`.
        guarantee: whose radius is tested.
        shift: the radius in units of sigma.
        rule: see `Rule`.
        budget: level and samples of the tests to come.
    """
    # As counted: a unanimous selection counts as unanimous, or no far radius would be tried.
    fractions, inside = table.double() / table.sum(1, keepdim=True), pad(members, (0, 1))
    if rule == "majority":
        options = [_of_half(inside, guarantee.counts_rejection_as_right, shift)]
    elif guarantee.quantifier == "every":
        options = [_parted(fractions, inside, None, 1, shift, budget)]
        if bool((members.sum(1) <= 1).all()):
            options.append(_alone(inside, inside, shift))
    else:
        first, last = (_only(inside, side) for side in (0, 1))
        options = [_parted(fractions, inside, part, 1, shift, budget) for part in (first, last)]
        options += [_alone(inside, part, shift) for part in (first, last)]
        options.append(_parted(fractions, inside, inside, 2, shift, budget))
    found = _easiest(options, fractions, budget)
    nothing = _alone(inside, torch.zeros_like(inside), shift)
    return _where(members.any(1), found, nothing)


def _parted(
    fractions: Tensor,
    inside: Tensor,
    union: Tensor | None,
    many: int,
    shift: float,
    budget: SampleBudget,
) -> Hypotheses:
    """Choose where member and competitor meet: where the harder of the two tests is easiest.

    `union` None: each member has a statement of its own; else the union of these outcomes has one.
    """
    low = torch.linspace(-4, 4, GRID, dtype=torch.float64)
    below = torch.special.ndtr(torch.special.ndtri(torch.special.ndtr(low - shift) / many) - shift)
    low, below = low[below > 1e-12], below[below > 1e-12] * (1 - 1e-9)
    above = torch.special.ndtr(low) * (1 + 1e-12)
    if not len(low):
        return _alone(inside, torch.zeros_like(inside), shift)
    member = fractions.masked_fill(~inside, 1.0).amin(1)
    if union is not None:
        member = fractions.masked_fill(~union, 0.0).sum(1)
    competitor = fractions.masked_fill(inside, 0.0).amax(1)
    ease = torch.minimum(
        _ease(member.unsqueeze(1), above, budget),
        _ease(1 - competitor.unsqueeze(1), 1 - below, budget),
    )
    best = ease.argmax(1, keepdim=True)
    over, under = above[best], 1 - below[best]
    if union is None:
        kind = torch.where(inside, ITSELF, OTHERS)
        return Hypotheses(kind, torch.where(inside, over, under), torch.zeros_like(inside))
    joined = _only(inside, 0)
    kind = torch.where(joined, UNION, torch.where(inside, NONE, OTHERS))
    nulls = torch.where(joined, over, torch.where(inside, 0.0, under))
    return Hypotheses(kind, nulls, union)


def _alone(inside: Tensor, union: Tensor, shift: float) -> Hypotheses:
    """One statement: the union has so much probability that no competitor can catch it."""
    joined = _only(inside, 0)
    joined[:, 0] |= ~inside.any(1)
    kind = torch.where(joined, UNION, NONE)
    return Hypotheses(kind, torch.where(joined, _bar(shift), 0.0), union)


def _of_half(inside: Tensor, against: bool, shift: float) -> Hypotheses:
    """Every event of the rule majority keeps more than half of the probability."""
    _, needed = majority.kept_by_half(inside.long(), inside, against)
    kind = torch.where(needed, OTHERS if against else ITSELF, NONE)
    return Hypotheses(kind, torch.where(needed, _bar(shift), 0.0), torch.zeros_like(inside))


def _bar(shift: float) -> float:
    return torch.special.ndtr(torch.tensor(shift, dtype=torch.float64)).item() * (1 + 1e-12)


def _only(inside: Tensor, side: int) -> Tensor:
    """Keep the first (0) or the last (1) member of each image."""
    order = inside.long().cumsum(1) if side == 0 else inside.flip(1).long().cumsum(1).flip(1)
    return inside & (order == 1)


def _easiest(options: list[Hypotheses], fractions: Tensor, budget: SampleBudget) -> Hypotheses:
    """Take the option that needs fewest draws, for each image."""
    best, ease = options[0], _hardest(options[0], fractions, budget)
    for option in options[1:]:
        other = _hardest(option, fractions, budget)
        best = _where(ease >= other, best, option)
        ease = torch.maximum(ease, other)
    return best


def _where(first: Tensor, one: Hypotheses, other: Hypotheses) -> Hypotheses:
    pairs = zip(one, other, strict=True)
    return Hypotheses(*(torch.where(first.unsqueeze(1), mine, yours) for mine, yours in pairs))


def _hardest(tests: Hypotheses, fractions: Tensor, budget: SampleBudget) -> Tensor:
    """Return the ease of the hardest statement of each image."""
    found = _ease(tests.seen(fractions), tests.nulls, budget)
    return found.masked_fill(tests.kind == NONE, torch.inf).amin(1)


def _ease(probability: Tensor, null: Tensor, budget: SampleBudget) -> Tensor:
    """Compare tests: one over the draws they need; below 0 where they are thought to fail.

    A probability this far above its null takes about 9 p (1 - p) / (p - p0)^2 draws, and unanimous
    ones take log(alpha) / log(p0): a statement about a rare competitor needs more than few draws.
    """
    gap, inner = probability - null, null.clamp(1e-12, 1 - 1e-15)
    least = math.log(budget.alpha) / inner.log()
    needed = (9 * probability * (1 - probability) / gap.clamp(min=1e-12).square()).maximum(least)
    can = (gap > 0) & (least <= budget.draws)
    return torch.where(can, 1 / needed, -(-gap).clamp(min=0) - least / budget.draws)
