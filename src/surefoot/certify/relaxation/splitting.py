r"""Branch and bound: a region is split until the bounds of every part prove what is asked.

A part is a box of inputs and, for the numbers that flow into bent steps, the interval that each is
taken to lie in. Two parts that together hold all points replace one: by halving an input where
there are few of them (Wang et al. 2018), else by cutting the interval of one hidden number, a ReLU
at 0 (Bunel et al. 2020), a smooth function in the middle. The bounds of a part are those of its
parent and new ones of all steps behind the cut. Where to cut is a guess; what is proven of all
leaves is proven of the region, whatever the guesses were.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.relaxation.curves import Curve, Lines
from surefoot.certify.relaxation.input_set import InputSet
from surefoot.certify.relaxation.relaxed_net import RelaxedNet
from surefoot.certify.relaxation.substitution import Bounds, Effort, Ends

FEW_INPUTS = 20
"""Inputs that are halved; with more, hidden numbers are cut."""
PARTS = 2**22
"""Numbers that the coefficients of the parts of a batch hold, about."""
SAMPLES = 9
TOGETHER = 2
"""Hidden numbers that are cut at a time, which makes four parts of one."""


class Problem(NamedTuple):
    """What is to be proven of a region, from lower bounds on rows of outputs.

    Args:
        rows: coefficients of the outputs, `[R, O]`.
        offsets: what is taken off them, `[R]`.
        proven: says for bounds `[B, R]` which parts they prove, `[B]`; larger ones prove no less.
        focus: says for bounds `[B, R]` which row of each part to improve, `[B]`.
        broken: says for points `[N, ...]` which of them are counterexamples, `[N]`.
    """

    rows: Tensor
    offsets: Tensor
    proven: Callable[[Tensor], Tensor]
    focus: Callable[[Tensor], Tensor]
    broken: Callable[[Tensor], Tensor]


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
class _Part:
    """Some parts of the region, one a row: boxes, intervals of flows, and bounds so far."""

    lower: Tensor
    upper: Tensor
    clamps: dict[str, Ends]
    values: Tensor

    def at(self, index: Tensor) -> "_Part":
        """Return some of the parts."""
        clamps = {name: (one[index], two[index]) for name, (one, two) in self.clamps.items()}
        return _Part(self.lower[index], self.upper[index], clamps, self.values[index])

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
        bent = [step for step in net.graph.steps if isinstance(net.rules[step.name], Curve)]
        self.cut = {step.sources[0]: step.name for step in bent}
        free = (region.upper > region.lower).sum()
        self.by_inputs = region.norm == "linf" and int(free) <= FEW_INPUTS
        self.bounded = 0

    def run(self, deadline: float, effort: Effort = "alpha-crown") -> Proof:
        """Split until all is proven, a counterexample is found, or time is up."""
        whole = self._whole()
        found, bad = self._bounded(whole, "crown" if self.by_inputs else effort)
        if bad is not None:
            return Proof(False, bad, self.bounded, 0)
        stack = [found] if len(found) else []
        while stack:
            if time.monotonic() > deadline:
                break
            batch = stack.pop()
            size = self._size()
            if len(batch) > size:
                index = torch.arange(len(batch))
                stack.append(batch.at(index[:-size]))
                batch = batch.at(index[-size:])
            while stack and len(batch) < size:
                other = stack.pop()
                room = size - len(batch)
                index = torch.arange(len(other))
                if len(other) > room:
                    stack.append(other.at(index[:-room]))
                batch = _joined(batch, other.at(index[-room:]))
            children = self._halved(batch) if self.by_inputs else self._cut(batch)
            for start in range(0, len(children), size):
                index = torch.arange(start, min(start + size, len(children)))
                found, bad = self._bounded(children.at(index), "crown")
                if bad is not None:
                    return Proof(False, bad, self.bounded, 0)
                if len(found):
                    stack.append(found)
        left = sum(map(len, stack))
        return Proof(left == 0, None, self.bounded, left)

    def _whole(self) -> _Part:
        values = self.region.lower.new_full((1, len(self.problem.rows)), -torch.inf)
        return _Part(self.region.lower, self.region.upper, {}, values)

    def _size(self) -> int:
        """Return how many parts to bound at a time."""
        hidden = sum(int(self.net.steps[name].after[0] or 1) for name in self.cut if name in self.net.steps)
        if self.by_inputs:
            return 256
        return 8

    def _regions(self, parts: _Part) -> InputSet:
        eps = self.region.eps.expand(len(parts))
        origins = self.region.origins.expand(len(parts), *self.region.origins.shape[1:])
        return InputSet(origins, parts.lower, parts.upper, eps, self.region.norm)

    def _bounded(self, parts: _Part, effort: Effort) -> tuple[_Part, Tensor | None]:
        """Bound parts; return those that are left, with better ends, or a counterexample."""
        self.bounded += len(parts)
        bounds = Bounds(self.net, self._regions(parts), self.unit, effort, parts.clamps)
        many, rows = len(parts), self.problem.rows
        image = torch.arange(many).repeat_interleave(len(rows))
        least = bounds.least(rows.repeat(many, 1), image).view(many, -1) - self.problem.offsets
        values = torch.maximum(parts.values, least)
        done = bounds.empty | (self.problem.proven(values) & bounds.usable)
        left = (~done).nonzero().flatten()
        clamps = {name: (bounds.known[name].lower, bounds.known[name].upper) for name in self.cut}
        found = _Part(parts.lower, parts.upper, clamps, values).at(left)
        if len(left) == 0:
            return found, None
        points = self._corners(found)
        bad = self.problem.broken(points).nonzero().flatten()
        return found, points[bad[:1]] if len(bad) else None

    def _corners(self, parts: _Part) -> Tensor:
        return parts.lower + (parts.upper - parts.lower) / 2

    def _focused(self, parts: _Part) -> Tensor:
        return self.problem.rows[self.problem.focus(parts.values)]

    def _halved(self, parts: _Part) -> _Part:
        """Halve the input of each part that matters most to the row to improve."""
        bounds = Bounds(self.net, self._regions(parts), self.unit, "ibp")
        raise NotImplementedError

    def _cut(self, parts: _Part) -> _Part:
        """Cut the intervals of the hidden numbers whose lines cost the row to improve most."""
        shifts: dict[str, Lines] = {}
        with torch.enable_grad():
            bounds = Bounds(
                self.net, self._regions(parts), self.unit, "crown", parts.clamps, shifts
            )
            least = bounds.least(self._focused(parts), torch.arange(len(parts)))
            leaves = [end for one in shifts.values() for end in (one.lower, one.upper)]
            grads = torch.autograd.grad(least.sum(), leaves, allow_unused=True)
        costs = []
        for place, (name, step) in enumerate(self.cut.items()):
            low, high = (end.detach().flatten(1) for end in parts.clamps[name])
            curve = self.net.rules[step]
            lines = bounds.known[step].lines
            flat = [one.detach().flatten(1) for one in lines]
            below = above = 0.0
            for place_ in range(SAMPLES):
                at = low + (high - low) * place_ / (SAMPLES - 1)
                value = curve.value(at)
                below = below + (value - flat[0] * at - flat[1]).clamp(min=0)
                above = above + (flat[2] * at + flat[3] - value).clamp(min=0)
            down, up = (
                torch.zeros_like(low) if one is None else one.abs().flatten(1)
                for one in grads[2 * place : 2 * place + 2]
            )
            cost = (down * below + up * above).nan_to_num(0.0, 0.0, 0.0)
            # A cut tightens all that follows, which the gradient sees in part alone.
            costs.append(cost.where(curve.unstable(low, high), 0.0) / (1 + place))
        widths = [cost.shape[1] for cost in costs]
        cost = torch.cat(costs, 1)
        best = cost.topk(min(TOGETHER, cost.shape[1]), 1)
        for turn in range(best.indices.shape[1]):
            here = best.indices[:, turn].repeat(2**turn)
            parts = self._cut_at(parts, here, widths)
        return parts

    def _points(self, step: str, low: Tensor, high: Tensor) -> Tensor:
        curve = self.net.rules[step]
        middle = low + (high - low) / 2
        for kink in curve.kinks:
            middle = torch.where((low < kink) & (high > kink), kink, middle)
        return middle

    def _cut_at(self, parts: _Part, places: Tensor, widths: list[int]) -> _Part:
        """Cut the interval of one hidden number of each part, by its place among all."""
        index = torch.arange(2 * len(parts)) % len(parts)
        both, first = parts.at(index), torch.arange(2 * len(parts)) < len(parts)
        places, start, clamps = places[index], 0, {}
        for (name, step), width in zip(self.cut.items(), widths, strict=True):
            low, high = (end.clone() for end in both.clamps[name])
            flat = low.view(len(low), -1), high.view(len(high), -1)
            inside = (places >= start) & (places < start + width)
            rows = inside.nonzero().flatten()
            if len(rows):
                at = places[rows] - start
                point = self._points(step, flat[0][rows, at], flat[1][rows, at])
                flat[1][rows, at] = torch.where(first[rows], point, flat[1][rows, at])
                flat[0][rows, at] = torch.where(first[rows], flat[0][rows, at], point)
            clamps[name] = (low, high)
            start += width
        return replace(both, clamps=clamps)


def _joined(one: _Part, other: _Part) -> _Part:
    clamps = {
        name: tuple(torch.cat(pair) for pair in zip(one.clamps[name], other.clamps[name], strict=True))
        for name in one.clamps
    }
    ends = (torch.cat((getattr(one, end), getattr(other, end))) for end in ("lower", "upper"))
    return _Part(*ends, clamps, torch.cat((one.values, other.values)))  # pyright: ignore
