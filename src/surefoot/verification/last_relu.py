r"""Nets that end in a ReLU: what is asked of its outputs, asked of what flows into it.

With p > 0, n >= 0, d >= 0: $p \max(0, a) - n \max(0, b) > d$ exactly if $p a > d$ and
$p a - n b > d$. Lines around the last ReLU would lose its whole height; so nothing is lost.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.relaxation.curves import RELU
from surefoot.certify.relaxation.relaxed_net import RelaxedNet


class Pieces(NamedTuple):
    """Rows that are bounded; a row of the specification is above 0 if all of its pieces are.

    Args:
        rows: coefficients, `[P, O]`.
        bounds: what is taken off, `[P]`.
        members: of each row of the specification, Bool[R, P].
    """

    rows: Tensor
    bounds: Tensor
    members: Tensor


def without_last_relu(net: RelaxedNet, rows: Tensor, bounds: Tensor) -> tuple[RelaxedNet, Pieces]:
    """Return the net and the rows, or the net without its last ReLU and their pieces.

    Args:
        net: with its relaxations.
        rows: of the specification, `[R, O]`: a row excludes a counterexample where C y - d > 0.
        bounds: d, `[R]`.
    """
    whole = net, Pieces(rows, bounds, torch.eye(len(rows)).bool())
    last = net.graph.steps[-1]
    one_sided = ((rows > 0).sum(1) == 1) & ((rows < 0).sum(1) <= 1) & (bounds >= 0)
    if net.rules[last.name] is not RELU or last.name != net.graph.result or not one_sided.all():
        return whole
    graph = net.graph._replace(steps=net.graph.steps[:-1], result=last.sources[0])
    # The cases of a specification often share what must be above 0 alone.
    both = torch.cat([rows, rows.clamp(min=0)]), torch.cat([bounds, bounds])
    pieces, owner = torch.cat([both[0], both[1].unsqueeze(1)], 1).unique(dim=0, return_inverse=True)
    members = torch.zeros(len(rows), len(pieces), dtype=torch.bool)
    members[torch.arange(len(rows)).repeat(2), owner] = True
    return RelaxedNet(graph), Pieces(pieces[:, :-1].contiguous(), pieces[:, -1], members)
