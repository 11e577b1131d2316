"""The rule majority: a label only with more than half of the probability, else "uncertain".

It is the rule argmax with "uncertain" at one half, so that one fraction decides, not two.
"""

import torch
from torch import Tensor

from surefoot.guarantees import Guarantee
from surefoot.types import Outcomes


def outcomes(fractions: Outcomes) -> Outcomes:
    """Put "uncertain", the last outcome, at one half, whatever its probability."""
    return torch.cat([fractions[:, :-1], torch.full_like(fractions[:, -1:], 0.5)], 1)


def kept_by_half(counts: Tensor, inside: Tensor, against: Tensor | bool) -> tuple[Tensor, Tensor]:
    """Return events that must each keep more than half of the probability for a set to hold.

    A label holds while it has more than half itself. A set with "uncertain" holds while everything
    but B has, for each competitor B.

    Args:
        counts: `[B, K]`, of everything that competes.
        inside: which of them are in the set, `[B, K]`.
        against: whether the set holds "uncertain", `[B]` or one for all.

    Returns:
        counts of K events `[B, K]`, and which of these are needed.
    """
    others = torch.as_tensor(against, device=inside.device).expand(len(inside)).unsqueeze(1)
    events = torch.where(others, counts.sum(1, keepdim=True) - counts, counts)
    return events, torch.where(others, ~inside, inside)


def check(guarantee: Guarantee) -> None:
    """Raise unless the guarantee is about one label, or about it and "uncertain"."""
    if guarantee.set_valued:
        raise ValueError(
            'the rule majority predicts one label or "uncertain": take local or'
            f" label-or-uncertain, not {type(guarantee).__name__}, or the rule argmax"
        )
