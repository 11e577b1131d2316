r"""Lower bounds on logit margins with gradients: rows of coefficients, substituted backwards.

With `lines` each function is replaced by its lines, back to the images (CROWN on interval bounds:
CROWN-IBP); without, the rows stop at the last functions, whose boxes are known (IBP, the last layer
merged with the margin). The lines of ReLU depend on the bounds with gradients; those of other
functions are constants.

Reference: Zhang et al. 2020.
"""

from typing import Any

import torch
from torch import Tensor

from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.curves import RELU, Lines
from surefoot.certify.relaxation.rules import Bent, shape_of
from surefoot.training.interval_bounds import FlowBounds
from surefoot.training.live_net import LiveNet, Rules
from surefoot.training.surroundings import BallRegion

Known = dict[str, FlowBounds]


def margins_from_below(
    net: LiveNet, rules: Rules, region: BallRegion, known: Known, rows: Tensor, *, lines: bool
) -> Tensor:
    """Bound rows of the logits from below on each ball.

    Args:
        net: whose logits.
        rules: of its steps, with the weights of the moment.
        region: balls, of more than one point.
        known: interval bounds on them.
        rows: coefficients of the logits, `[B, M, C]`.
        lines: substitute back to the images.

    Returns:
        `[B, M]`, up to rounding.
    """
    batch, count = rows.shape[:2]
    total = rows.new_zeros(batch, count)
    pending = {net.graph.result: rows.flatten(0, 1)}
    for step in reversed(net.graph.steps):
        if step.name not in pending:
            continue
        rule, own = rules[step.name], pending.pop(step.name)
        sources = list(dict.fromkeys(step.sources))
        if isinstance(rule, Affine):
            none = [own.new_zeros(1, *shape_of(net.graph, name)) for name in sources]
            offset = rule.apply(*none).flatten()
            total = total + (own.flatten(1) @ offset).view(batch, count)
            parts = rule.transpose(own)
        elif not lines:
            total = total + _least(own, known[step.name], batch)
            continue
        else:
            part, constant = rule.back(own, _lines(rule, known[step.sources[0]], count))
            total, parts = total + constant.view(batch, count), (part,)
        for name, part in zip(sources, parts, strict=True):
            pending[name] = pending[name] + part if name in pending else part
    if net.graph.source in pending:
        own = pending[net.graph.source]
        if region.threat.norm == "linf":
            return total + _least(own, known[net.graph.source], batch)
        own = own.view(batch, count, -1)
        middle = (own @ region.centers.flatten(1).unsqueeze(2)).squeeze(2)
        return total + middle - region.threat.eps * torch.linalg.vector_norm(own, dim=2)
    return total


def _least(rows: Tensor, box: FlowBounds, batch: int) -> Tensor:
    """Return the least values of rows `[B M, ...]` on the box of each image, `[B, M]`."""
    rows = rows.view(batch, len(rows) // batch, -1)
    center, radius = (one.flatten(1).unsqueeze(2) for one in (box.center, box.radius))
    return (rows @ center - rows.abs() @ radius).squeeze(2)


def _lines(rule: Bent, source: FlowBounds, count: int) -> Any:
    """Return the lines of a function for each row: those of its image."""
    if rule is RELU:
        found: Any = relu_lines(source)
    else:
        with torch.no_grad():
            wide: Any = rule.lines(source.lower.double(), source.upper.double())
        found = type(wide)(*(_narrowed(part, source.lower) for part in wide))
    return type(found)(*(part.repeat_interleave(count, 0) for part in found))


def _narrowed(part: Tensor, like: Tensor) -> Tensor:
    return part.to(like.dtype) if part.is_floating_point() else part


def relu_lines(source: FlowBounds) -> Lines:
    """Return the chord above ReLU, and below it the line of slope 0 or 1 that is nearer."""
    low, high = source.lower.clamp(max=0), source.upper.clamp(min=0)
    slope = high / (high - low).clamp(min=1e-9)
    zero = torch.zeros_like(slope)
    return Lines((slope > 0.5).to(slope), zero, slope, -slope * low)
