r"""A radius as a conjunction of statements "this set of outcomes has more mass than that".

Each statement is one binomial share, so exact sequential tests serve it. The radius of a guarantee
depends on two masses, of a member and of a rival; where the two meet is chosen on the selection
copies, and is fixed before the copies that decide are drawn:

$$ p_S > a, \; p_B < b \text{ for every rival } B, \qquad
   \Phi(\Phi^{-1}(a) - \rho) / m = \Phi(\Phi^{-1}(b) + \rho), \quad \rho = r / \sigma $$
Every statement is tested at level alpha: if the radius does not hold, one of them is false, and is
accepted with probability at most alpha (intersection-union). Where the first statement implies the
others ($b \ge 1 - a$), it stands alone.
"""

from itertools import chain, combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.guarantees import Guarantee, LabelOrUncertain
from surefoot.types import Sets

Rule = Literal["argmax", "majority"]
"""Whose radius: of the outcome with the largest mass, or of a label only where it has more than
half of the mass and "uncertain" elsewhere."""
GRID = 65
"""Places at which the two masses may meet: few, because each needs a test table of its own."""


class Claim(NamedTuple):
    """What must hold for one image and one radius, all of it.

    Args:
        events: sets of outcomes, `[T, O + 1]`.
        nulls: the mass that each must exceed, `[T]`.
    """

    events: Tensor
    nulls: Tensor


def chosen(selection: Tensor, sets: Sets) -> Tensor:
    """Choose one alternative for each image: the one whose masses are furthest apart, `[B]`.

    Args:
        selection: counts `[B, O + 1]` of the selection copies.
        sets: alternatives `[B, A, O]`.
    """
    shares = _shares(selection).unsqueeze(1)
    inside = torch.cat([sets, torch.zeros_like(sets[:, :, :1])], 2)
    member = torch.special.ndtri(shares.masked_fill(~inside, 1.0).amin(2))
    rival = torch.special.ndtri(shares.masked_fill(inside, 0.0).amax(2))
    return (member - rival).masked_fill(~sets.any(2), -torch.inf).argmax(1)


def claim_of(
    counts: Tensor, members: Tensor, guarantee: Guarantee, shift: float, rule: Rule
) -> Claim:
    """Say what must hold for one image at one radius.

    An alternative that is not available needs what cannot be: that no outcome has mass.

    Args:
        counts: of the selection copies of this image, `[O + 1]`; the last are broken copies, a
            rival of everything.
        members: the alternative, `[O]`.
        guarantee: whose radius is claimed.
        shift: the radius in units of sigma.
        rule: see `Rule`.
    """
    shares = _shares(counts)
    inside = torch.cat([members, members.new_zeros(1)])
    rivals = torch.eye(len(shares), dtype=torch.bool)[~inside]
    bar = torch.special.ndtr(torch.tensor([shift], dtype=torch.float64)) * (1 + 1e-12)
    if not bool(members.any()):
        return _nothing(shares, shift)
    if rule == "majority":
        events = ~rivals if isinstance(guarantee, LabelOrUncertain) else inside.unsqueeze(0)
        return Claim(events, bar.expand(len(events)))
    if guarantee.quantifier == "every":
        events = torch.eye(len(shares), dtype=torch.bool)[inside]
        return _parted(shares, events, rivals, 1, shift)
    names = inside.nonzero().flatten().tolist()
    subsets = chain.from_iterable(combinations(names, size) for size in (1, 2))
    found = []
    for subset in subsets:
        event = torch.zeros_like(inside)
        event[list(subset)] = True
        found.append(_parted(shares, event.unsqueeze(0), rivals, len(subset), shift))
    return max(found, key=lambda claim: _ease(claim, shares))


def _parted(shares: Tensor, events: Tensor, rivals: Tensor, many: int, shift: float) -> Claim:
    """Choose where member and rival meet: where the harder of the two tests is easiest."""
    low = torch.linspace(-4, 4, GRID, dtype=torch.float64)
    below = torch.special.ndtr(torch.special.ndtri(torch.special.ndtr(low - shift) / many) - shift)
    low, below = low[below > 1e-12], below[below > 1e-12] * (1 - 1e-9)
    above = torch.special.ndtr(low) * (1 + 1e-12)
    if not len(low):
        return _nothing(shares, shift)
    member = (events.double() @ shares).amin()
    rival = (rivals.double() @ shares).amax()
    ease = torch.minimum(_distance(member, above), _distance(1 - rival, 1 - below))
    best = int(ease.argmax())
    both = Claim(
        torch.cat([events, ~rivals]),
        torch.cat([above[best].expand(len(events)), (1 - below[best]).expand(len(rivals))]),
    )
    if many > 1 or len(events) > 1:
        return both
    bar = torch.special.ndtr(torch.tensor([shift], dtype=torch.float64)) * (1 + 1e-12)
    alone = Claim(events, bar)
    return max(both, alone, key=lambda claim: _ease(claim, shares))


def _nothing(shares: Tensor, shift: float) -> Claim:
    """Ask for what cannot be: that no outcome has mass."""
    null = torch.special.ndtr(torch.tensor([shift], dtype=torch.float64))
    return Claim(torch.zeros(1, len(shares), dtype=torch.bool), null)


def _ease(claim: Claim, shares: Tensor) -> float:
    """Compare claims: draws needed go with the inverse square of the least distance."""
    return _distance(claim.events.double() @ shares, claim.nulls).amin().item()


def _distance(mass: Tensor, null: Tensor) -> Tensor:
    """Give how many deviations of one draw a mass lies above its null."""
    return (mass - null) / (mass * (1 - mass)).clamp(min=1e-9).sqrt()


def _shares(counts: Tensor) -> Tensor:
    """Estimate masses from a few copies: none is thought to be 0 or 1."""
    counts = counts.double()
    total = counts.sum(-1, keepdim=True)
    return (counts + 0.5 / counts.shape[-1]) / (total + 0.5)
