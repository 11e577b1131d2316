r"""Branch and bound: a region is split until the bounds of every part prove what is asked.

A part is a box of inputs and, for the numbers that flow into bent steps, the interval that each is
taken to lie in. Two parts that together hold all points replace one: an input is split at its
middle where there are few of them (Wang et al. 2018), else the interval of one hidden number is
cut, a ReLU at 0 (Bunel et al. 2020), a smooth function in the middle. A part has the bounds of its
parent and new ones of all steps behind the cut. Where to cut is a guess; what is proven of all
leaves is proven of the region, whatever the guesses were.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.relaxation.backward import Pull
from surefoot.certify.relaxation.curves import Curve, Lines
from surefoot.certify.relaxation.input_set import InputSet
from surefoot.certify.relaxation.relaxed_net import RelaxedNet
from surefoot.certify.relaxation.substitution import Bounds, Ends
from surefoot.progress import Tell, gauge, span

FEW_INPUTS = 20
"""Inputs that are halved; with more, hidden numbers are cut."""
HALVED, CUT = 256, 8
"""Parts at a time, by inputs and by hidden numbers."""
TOGETHER = 3
"""Hidden numbers that are cut at a time, which makes eight parts of one."""
STEPS_OF_PARTS = 8
"""Of gradient ascent on the slopes of the last bounds of each part."""
SAMPLES = 9
"""Points at which a function is compared with its lines."""
THOUSAND = 1000
PROGRESS = "branch and bound, thousandths proven"
UNIT = 2.0**-53


class Problem(NamedTuple):
    """What is to be proven of a region, from lower bounds on rows of outputs.

    Args:
        rows: coefficients of the outputs, `[R, O]`.
        offsets: what is taken off them, `[R]`.
        proven: says for bounds `[B, R]` which parts they prove, `[B]`; larger ones prove no less.
        focus: says for bounds `[B, R]` which row of each part to improve, `[B]`.
        broken: says for points `[N, ...]` which of them are counterexamples, `[N]`.
        enough: bounds above this one need not be improved.
    """

    rows: Tensor
    offsets: Tensor
    proven: Callable[[Tensor], Tensor]
    focus: Callable[[Tensor], Tensor]
    broken: Callable[[Tensor], Tensor]
    enough: float = 0.0


class Proof(NamedTuple):
    """What branch and bound found.

    Args:
        proven: whether the bounds of all parts prove what is asked.
        counterexample: a point of the region where it fails, `[1, ...]`.
        parts: that were bounded.
        left: parts that are undecided.
    """

    proven: bool
    counterexample: Tensor | None
    parts: int
    left: int


@dataclass(frozen=True)
class _Parts:
    """Some parts of the region, one a row.

    Args:
        lower: ends of their boxes, `[B, ...]`.
        upper: ditto.
        clamps: intervals of the flows into steps that are bent.
        values: bounds on the rows of the problem so far, `[B, R]`.
        pulls: coefficients of the inputs in the bound that is to be improved, `[B, ...]`.
        shares: of the search, one over the number of parts at such a depth, `[B]`.
    """

    lower: Tensor
    upper: Tensor
    clamps: dict[str, Ends]
    values: Tensor
    pulls: Tensor
    shares: Tensor

    def at(self, index: Tensor | slice) -> "_Parts":
        """Return some of the parts."""
        clamps = {name: (one[index], two[index]) for name, (one, two) in self.clamps.items()}
        boxes = self.lower[index], self.upper[index]
        more = self.values[index], self.pulls[index], self.shares[index]
        return _Parts(*boxes, clamps, *more)

    def __len__(self) -> int:
        return len(self.lower)


class Search:
    """A branch and bound of one region.

    Args:
        net: with its relaxations.
        unit: of the arithmetic in which it runs.
        region: of one image.
        problem: what is to be proven.
    """

    def __init__(self, net: RelaxedNet, unit: float, region: InputSet, problem: Problem) -> None:
        self.net, self.unit, self.region, self.problem = net, unit, region, problem
        self.curves: dict[str, tuple[str, Curve]] = {}
        for step in net.graph.steps:
            rule = net.rules[step.name]
            if isinstance(rule, Curve):
                self.curves[step.sources[0]] = (step.name, rule)
        free = int((region.upper > region.lower).sum())
        self.by_inputs = region.norm == "linf" and free <= FEW_INPUTS
        self.bounded, self.stuck, self.usable = 0, 0, True
        self.stuck_share = 0.0
        self.first: dict[str, Ends] = {}

    def run(self, deadline: float) -> Proof:
        """Split until all is proven, a counterexample is found, or time is up."""
        whole = _Parts(
            self.region.lower,
            self.region.upper,
            {},
            self.region.lower.new_full((1, len(self.problem.rows)), -torch.inf),
            torch.zeros_like(self.region.lower),
            self.region.lower.new_ones(1),
        )
        left, bad = self._bounded(whole)
        stack = [left] if len(left) else []
        with gauge(PROGRESS, THOUSAND) as tell:
            while stack and bad is None and self.usable and time.monotonic() <= deadline:
                self._told(tell, stack, deadline)
                batch = self._taken(stack)
                children = self._halved(batch) if self.by_inputs else self._cut(batch)
                for start in range(0, len(children), self._most):
                    left, bad = self._bounded(children.at(slice(start, start + self._most)))
                    if bad is not None:
                        break
                    if len(left):
                        stack.append(left)
        undecided = self.stuck + sum(map(len, stack))
        return Proof(bad is None and undecided == 0, bad, self.bounded, undecided)

    def _told(self, tell: Tell, stack: list[_Parts], deadline: float) -> None:
        """Tell how much is proven: each cut leaves half of its part on both sides."""
        open_ = sum(float(one.shares.sum()) for one in stack) + self.stuck_share
        left = deadline - time.monotonic()
        ends = f", at most {span(left)} more" if left < torch.inf else ""
        tell(int(THOUSAND * max(1 - open_, 0)), f" ({self.bounded} parts bounded{ends})")

    @property
    def _most(self) -> int:
        """Return how many parts to bound at a time."""
        if self.by_inputs:
            return HALVED
        return CUT

    def _taken(self, stack: list[_Parts]) -> _Parts:
        """Take the newest parts off the stack: depth first, which keeps it short."""
        batch, most = stack.pop(), self._most
        while stack and len(batch) < most:
            batch = _joined(stack.pop(), batch)
        if len(batch) > most:
            stack.append(batch.at(slice(0, len(batch) - most)))
            batch = batch.at(slice(len(batch) - most, len(batch)))
        return batch

    def _regions(self, parts: _Parts) -> InputSet:
        eps = self.region.eps.expand(len(parts))
        origins = self.region.origins.expand(len(parts), *self.region.origins.shape[1:])
        return InputSet(origins, parts.lower, parts.upper, eps, self.region.norm)

    def _bounded(self, parts: _Parts) -> tuple[_Parts, Tensor | None]:
        """Bound parts; return those that are left, with better ends, or a counterexample."""
        self.bounded += len(parts)
        bounds = Bounds(self.net, self._regions(parts), self.unit, "crown", parts.clamps)
        many, rows = len(parts), self.problem.rows
        image = torch.arange(many, device=rows.device).repeat_interleave(len(rows))
        least = bounds.least(rows.repeat(many, 1), image).view(many, -1)
        values = torch.maximum(parts.values, _less(least, self.problem.offsets))
        if not self.by_inputs:
            self._climb(bounds, values)
        # Where a number may overflow nothing is known, and nothing is handed on.
        self.usable &= bool(bounds.usable.all())
        done = (bounds.empty | self.problem.proven(values)) & self.usable
        index = (~done).nonzero().flatten()
        clamps = {
            name: (bounds.known[name].lower, bounds.known[name].upper) for name in self.curves
        }
        self.first = self.first or clamps
        pulls = bounds.pulls(rows[self.problem.focus(values)]).view_as(parts.lower)
        left = replace(parts, clamps=clamps, values=values, pulls=pulls).at(index)
        if len(index) == 0:
            return left, None
        points = self._likely(left)
        bad = self.problem.broken(points).nonzero().flatten()
        return left, points[bad[:1]] if len(bad) else None

    def _climb(self, bounds: Bounds, values: Tensor) -> None:
        """Improve bounds that are not large enough by better slopes."""
        undecided = ~(bounds.empty | self.problem.proven(values)).unsqueeze(1)
        which, row = (undecided & (values <= self.problem.enough)).nonzero().unbind(1)
        if len(which):
            rows, enough = self.problem.rows[row], self.problem.enough
            found = bounds.climbed(rows, which, STEPS_OF_PARTS, self._sides(bounds), enough)
            found = _less(found, self.problem.offsets[row])
            values[which, row] = torch.fmax(values[which, row], found)

    def _sides(self, bounds: Bounds) -> dict[str, Pull]:
        """Return on which side of a point numbers are known to lie, where cuts have made it so."""
        found = {}
        for name, (least, most) in self.first.items():
            low, high = bounds.known[name].lower, bounds.known[name].upper
            up, down = low - least, most - high
            signs = torch.where(up >= down, 1.0, -1.0).where(torch.maximum(up, down) > 0, 0.0)
            if bool((signs != 0).any()):
                found[name] = Pull(signs, torch.where(signs > 0, low, high))
        return found

    def _likely(self, parts: _Parts) -> Tensor:
        """Return the point of each part where the bound to improve is least."""
        if self.region.norm == "linf":
            return torch.where(parts.pulls > 0, parts.lower, parts.upper)
        size = torch.linalg.vector_norm(parts.pulls.flatten(1), dim=1).clamp(min=1e-300)
        step = (self.region.eps / size).view(-1, *(1,) * (parts.pulls.ndim - 1)) * (1 - 1e-6)
        points = self.region.origins - step * parts.pulls
        return torch.clamp(points, self.region.lower, self.region.upper)

    def _halved(self, parts: _Parts) -> _Parts:
        """Halve the input of each part that matters most to the bound to improve."""
        width = parts.upper - parts.lower
        middle = parts.lower + width / 2
        open_ = (parts.lower < middle) & (middle < parts.upper)
        splits = open_.flatten(1).any(1)
        if not bool(splits.all()):  # points, of which nothing is proven
            self.stuck += int((~splits).sum())
            self.stuck_share += float(parts.shares[~splits].sum())
            parts = parts.at(splits.nonzero().flatten())
            return self._halved(parts) if len(parts) else parts
        weight = self._weights(parts) * width
        weight = (weight + 1e-9 * width + 1e-300).masked_fill(~open_, -1.0).flatten(1)
        here = torch.zeros_like(weight, dtype=torch.bool)
        here.scatter_(1, weight.argmax(1, keepdim=True), True)
        here = here.view_as(width)
        parts = replace(parts, shares=parts.shares / 2)
        one = replace(parts, upper=torch.where(here, middle, parts.upper))
        return _joined(one, replace(parts, lower=torch.where(here, middle, parts.lower)))

    def _weights(self, parts: _Parts) -> Tensor:
        """Return how fast the bound to improve rises where an end of an input moves inwards."""
        ends = [end.clone().requires_grad_() for end in (parts.lower, parts.upper)]
        with torch.enable_grad():
            region = self._regions(replace(parts, lower=ends[0], upper=ends[1]))
            bounds = Bounds(self.net, region, self.unit, "crown")
            rows = self.problem.rows[self.problem.focus(parts.values)]
            least = bounds.least(rows, torch.arange(len(parts), device=rows.device))
            found = torch.autograd.grad(least.sum(), ends)
        return (found[0].abs() + found[1].abs()).nan_to_num(1.0, 1.0, 1.0)

    def _cut(self, parts: _Parts) -> _Parts:
        """Cut the intervals of the hidden numbers whose lines cost the bound to improve most.

        Where every line is exact the inputs are halved.
        """
        costs = self._costs(parts)
        best = torch.cat(costs, 1).topk(min(TOGETHER, sum(one.shape[1] for one in costs)), 1)
        bent = best.values[:, 0] > 0
        exact = (~bent).nonzero().flatten()
        halved = self._halved(parts.at(exact)) if len(exact) else None
        parts, indices = parts.at(bent.nonzero().flatten()), best.indices[bent]
        for turn in range(indices.shape[1] if len(parts) else 0):
            places = indices[:, turn].repeat(2**turn)
            parts = self._cut_at(parts, places, [one.shape[1] for one in costs])
        return parts if halved is None else _joined(parts, halved)

    def _costs(self, parts: _Parts) -> list[Tensor]:
        """Estimate, for each flow, what the lines of each of its numbers cost, `[B, F]`.

        The gradient of the bound by the intercept of a line, through all bounds in between, times
        the mean distance of the line. A cut tightens all that follows, of which the gradient sees a
        part; early steps gain most, so the cost counts by one over the place.
        """
        shifts: dict[str, Lines] = {}
        region, clamps = self._regions(parts), parts.clamps
        with torch.enable_grad():
            bounds = Bounds(self.net, region, self.unit, "crown", clamps, shifts)
            rows = self.problem.rows[self.problem.focus(parts.values)]
            least = bounds.least(rows, torch.arange(len(parts), device=rows.device))
            leaves = [end for one in shifts.values() for end in (one.lower, one.upper)]
            if not least.requires_grad:
                return [torch.zeros_like(one.flatten(1)) for one, _ in clamps.values()]
            found = torch.autograd.grad(least.sum(), leaves, allow_unused=True)
        slopes = dict(zip(shifts, zip(found[::2], found[1::2], strict=True), strict=True))
        costs = []
        for place, (name, (step, curve)) in enumerate(self.curves.items()):
            low, high = (end.flatten(1) for end in clamps[name])
            below, above = _gaps(curve, low, high, bounds.known[step].lines)
            down, up = (
                torch.zeros_like(low) if one is None else one.abs().flatten(1)
                for one in slopes[step]
            )
            cost = (down * below + up * above).nan_to_num(0.0, 0.0, 0.0) + 1e-300
            costs.append(cost.where(curve.unstable(low, high), 0.0) / (1 + place))
        return costs

    def _cut_at(self, parts: _Parts, places: Tensor, widths: list[int]) -> _Parts:
        """Cut the interval of one hidden number of each part, by its place among all."""
        both = _joined(parts, parts)
        both = replace(both, shares=both.shares / 2)
        first = torch.arange(len(both), device=places.device) < len(parts)
        places, start, clamps = places.repeat(2), 0, {}
        for (name, (_, curve)), width in zip(self.curves.items(), widths, strict=True):
            low, high = (end.clone() for end in both.clamps[name])
            flat_low, flat_high = low.view(len(low), -1), high.view(len(high), -1)
            rows = ((places >= start) & (places < start + width)).nonzero().flatten()
            at = places[rows] - start
            least, most = flat_low[rows, at], flat_high[rows, at]
            point = _middle(curve, least, most)
            flat_high[rows, at] = torch.where(first[rows], point, most)
            flat_low[rows, at] = torch.where(first[rows], least, point)
            clamps[name] = (low, high)
            start += width
        return replace(both, clamps=clamps)


def _less(least: Tensor, offsets: Tensor) -> Tensor:
    """Subtract offsets, rounded down."""
    return (least - offsets) - 4 * UNIT * (least.abs() + offsets.abs())


def _middle(curve: Curve, low: Tensor, high: Tensor) -> Tensor:
    """Return where to cut an interval: at a kink, or in the middle."""
    middle = low + (high - low) / 2
    for kink in curve.kinks:
        middle = torch.where((low < kink) & (high > kink), kink, middle)
    return middle


def _gaps(curve: Curve, low: Tensor, high: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
    """Return the mean distance of a function from its lower and its upper lines."""
    flat = [one.detach().flatten(1) for one in lines]
    below, above = torch.zeros_like(low), torch.zeros_like(low)
    for place in range(SAMPLES):
        at = low + (high - low) * place / (SAMPLES - 1)
        value = curve.value(at)
        below += (value - flat[0] * at - flat[1]).clamp(min=0)
        above += (flat[2] * at + flat[3] - value).clamp(min=0)
    return below / SAMPLES, above / SAMPLES


def _joined(one: _Parts, other: _Parts) -> _Parts:
    clamps = {
        name: (torch.cat((low, other.clamps[name][0])), torch.cat((high, other.clamps[name][1])))
        for name, (low, high) in one.clamps.items()
    }
    lower, upper = torch.cat((one.lower, other.lower)), torch.cat((one.upper, other.upper))
    values, pulls = torch.cat((one.values, other.values)), torch.cat((one.pulls, other.pulls))
    return _Parts(lower, upper, clamps, values, pulls, torch.cat((one.shares, other.shares)))
