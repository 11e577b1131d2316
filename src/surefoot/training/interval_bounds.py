r"""Interval bounds with gradients (IBP), in the precision of the net: for training, not for proofs.

Centre and radius go through each affine step, $\mu \gets W \mu + b$ and $r \gets |W| r$, ends
through monotone functions. At l2 the first dense layer or convolution takes the ball as it is: an
output moves by $\epsilon \|w\|_2$, where the smallest box around the ball would give
$\epsilon \|w\|_1$.

Reference: Gowal et al. 2018.
"""

from typing import NamedTuple

from torch import Tensor

from surefoot.certify.lipschitz.graph import Step
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.curves import SIGMOID, TANH, Curve
from surefoot.certify.relaxation.rules import Bent
from surefoot.training.live_net import WEIGHTED, LiveNet, Rules
from surefoot.training.surroundings import BallRegion

TINY = 1e-24
"""Below it a square root has no gradient that is of use."""


class FlowBounds(NamedTuple):
    """Bounds on a flow, `[B, ...]` each."""

    lower: Tensor
    upper: Tensor

    @property
    def center(self) -> Tensor:
        """Return the middle."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Return half of the width."""
        return (self.upper - self.lower) / 2


def box_of_region(region: BallRegion) -> FlowBounds:
    """Return the smallest box around the balls; at linf it is cut with the box of legal values."""
    eps, threat = region.threat.eps, region.threat
    lower, upper = region.centers - eps, region.centers + eps
    if threat.norm == "linf":
        lower, upper = lower.clamp(min=threat.low), upper.clamp(max=threat.high)
    return FlowBounds(lower, upper)


def interval_bounds(net: LiveNet, rules: Rules, region: BallRegion) -> dict[str, FlowBounds]:
    """Bound every flow of the net on the balls of a region, by name."""
    source = net.graph.source
    known = {source: box_of_region(region)}
    balls = {source} if region.threat.norm == "l2" else set[str]()
    for step in net.graph.steps:
        rule = rules[step.name]
        sources = [known[name] for name in dict.fromkeys(step.sources)]
        if not isinstance(rule, Affine):
            known[step.name] = _range(rule, sources[0])
            continue
        if len(sources) == 1 and step.sources[0] in balls:
            if not rule.mixes:
                balls.add(step.name)
            elif net.kinds.get(step.name) in WEIGHTED:
                known[step.name] = _first(net, step, rule, sources[0])
                continue
        middle = rule.apply(*(one.center for one in sources))
        half = rule.absolute(*(one.radius for one in sources))
        known[step.name] = FlowBounds(middle - half, middle + half)
    return known


def _first(net: LiveNet, step: Step, rule: Affine, source: FlowBounds) -> FlowBounds:
    """Bound the first step that mixes: its source is a ball with another radius on each axis."""
    weight = step.layer.weight  # pyright: ignore[reportOptionalMemberAccess]
    assert isinstance(weight, Tensor)
    squares = net.weighted(step, weight.square(), None).apply(source.radius.square())
    half = squares.clamp(min=TINY).sqrt()
    middle = rule.apply(source.center)
    return FlowBounds(middle - half, middle + half)


def _range(rule: Bent, source: FlowBounds) -> FlowBounds:
    if isinstance(rule, Curve) and _increases(rule):
        return FlowBounds(rule.value(source.lower), rule.value(source.upper))
    return FlowBounds(*rule.range(*source))


def _increases(rule: Curve) -> bool:
    return rule in (SIGMOID, TANH) or (bool(rule.pieces) and min(rule.pieces) >= 0)
