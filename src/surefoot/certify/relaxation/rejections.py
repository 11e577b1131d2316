r"""Guarantees from lower bounds L[a, i] on f_a - f_i in a whole region, with rejection or without.

Without rejection an alternative S holds if L[a, i] > 0 for all members a and outcomes i outside. A
net that rejects has two guarantees about its label y: (i) it stays the answer, and certain; (ii) no
other label is ever answered. Each rule of rejection turns L into both; derived here.
"""

import torch
from torch import Tensor, nn

from surefoot.certify.lipschitz.certificate import label_sets
from surefoot.certify.lipschitz.kinds import remember_kind, replaced, strange
from surefoot.certify.relaxation.acceptance import Acceptance, RequiredMargins, ScoreThreshold
from surefoot.guarantees import Guarantee
from surefoot.types import Model, Sets, rejects
from surefoot.uncertainty import Selective
from surefoot.uncertainty.logit_margin import LogitMarginSelective

SCORES = ("least-confidence", "entropy")
"""Scores of `Selective` that relaxations know."""
for _kind in (Selective, LogitMarginSelective):
    remember_kind(_kind)


def holding(
    margins: Tensor,
    sets: Sets,
    guarantee: Guarantee,
    acceptance: Acceptance | None,
    error: Tensor,
) -> Tensor:
    """Return which alternatives hold in the whole region, `[B, A]`.

    Args:
        margins: L, `[B, C, C]`, from executed logits.
        sets: the alternatives, `[B, A, O]`.
        guarantee: what they are of.
        acceptance: of a net that rejects.
        error: see `Acceptance`.
    """
    if acceptance is None:
        return guarantee.holds(margins, sets)
    labels = label_sets(sets, margins.shape[1], guarantee)
    there = labels.any(2)
    decide = acceptance.certain
    if guarantee.counts_rejection_as_right:
        decide = acceptance.never_another
    best = labels.int().argmax(2)
    found = [decide(margins, best[:, place], error) for place in range(best.shape[1])]
    return torch.stack(found, 1) & there


def pairs_for(sets: Sets, guarantee: Guarantee, acceptance: Acceptance | None, classes: int):
    """Return which differences decide, Bool[B, C, C], cheapest first: rounds of pairs."""
    members = sets if acceptance is None else label_sets(sets, classes, guarantee)
    other = ~members & members.any(2, keepdim=True)
    first = (members.unsqueeze(3) & other.unsqueeze(2)).any(1)
    if acceptance is None or not guarantee.counts_rejection_as_right:
        return [first]
    apart = ~torch.eye(classes, dtype=torch.bool, device=sets.device)
    return [first, apart & members.any(2).any(1).view(-1, 1, 1)]


def opened_rejection(model: Model) -> tuple[Model, Acceptance | None]:
    """Return the net whose logits decide, and how it rejects.

    Raises:
        ValueError: a rejection that relaxations do not know.
    """
    kind = next((one for one in (Selective, LogitMarginSelective) if isinstance(model, one)), None)
    if kind is None:
        if rejects(model):
            raise ValueError(_unknown(type(model).__name__))
        return model, None
    assert isinstance(model, nn.Module)
    if why := strange(model, kind) or replaced(kind):
        raise ValueError(f"the rejection is not the one of {kind.__name__}: {why}")
    if isinstance(model, LogitMarginSelective):
        return model.model, RequiredMargins(model.slack)
    assert isinstance(model, Selective)
    if model.score not in SCORES:
        raise ValueError(_unknown(f"the score {model.score}"))
    return model.model, ScoreThreshold(model.score, model.threshold)


def _unknown(what: str) -> str:
    return (
        f"relaxations do not know how {what} rejects: they know {' and '.join(SCORES)} with a"
        " threshold (Selective) and logit margins (gloro, logit-gap). Take one of these, or certify"
        " the vote (certify.smoothing)"
    )
