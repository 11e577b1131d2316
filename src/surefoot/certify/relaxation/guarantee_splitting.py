"""Guarantees by branch and bound: an alternative holds if it does on every part of the ball."""

import torch
from torch import Tensor

from surefoot.certify.relaxation.rejections import Acceptance, holding, pairs_for
from surefoot.certify.relaxation.splitting import Problem
from surefoot.guarantees import Guarantee
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import dtype_of
from surefoot.types import Model, Sets


def problem_of(
    model: Model,
    guarantee: Guarantee,
    acceptance: Acceptance | None,
    sets: Sets,
    error: Tensor,
    classes: int,
) -> Problem:
    """Return what must be proven of one image for one alternative, the same in all parts.

    Args:
        model: whose outcomes decide whether a point is a counterexample.
        guarantee: what must not change.
        acceptance: of a net that rejects.
        sets: the alternative, `[1, 1, O]`.
        error: `[1]`, see `Acceptance`.
        classes: number of logits.
    """
    rounds = pairs_for(sets, guarantee, acceptance, classes)
    better, worse = torch.stack(rounds).any(0)[0].nonzero().unbind(1)
    index = torch.arange(len(better), device=sets.device)
    rows = torch.zeros(len(better), classes, dtype=torch.float64, device=sets.device)
    rows[index, better], rows[index, worse] = 1.0, -1.0
    decisive = rounds[0][0][better, worse]

    def proven(values: Tensor) -> Tensor:
        margins = values.new_full((len(values), classes, classes), -torch.inf)
        margins[:, better, worse] = values
        alike = sets.expand(len(values), *sets.shape[1:])
        return holding(margins, alike, guarantee, acceptance, error.expand(len(values)))[:, 0]

    def focus(values: Tensor) -> Tensor:
        return values.masked_fill(~decisive, torch.inf).argmin(1)

    def broken(points: Tensor) -> Tensor:
        outcomes = outcomes_of(model, points.to(dtype_of(model)))
        alike = sets.expand(len(points), *sets.shape[1:])
        return guarantee.margins(outcomes, alike)[:, 0] <= 0

    offsets = torch.zeros(len(rows), dtype=torch.float64, device=sets.device)
    enough = 0.0 if acceptance is None else torch.inf
    return Problem(rows, offsets, proven, focus, broken, enough)
