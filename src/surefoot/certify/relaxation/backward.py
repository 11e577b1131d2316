r"""Rows of coefficients, carried from a flow of a net back to its images: lower bounds.

A row A of the flow $z = W h + b + d$ becomes A W of h and the constant $A b - |A| |d|$; a step that
is bent is replaced by its lines (Zhang et al. 2018). d is the rounding of a step, `Known.rounding`.
Where a flow is known to lie on one side of a point, $s (z - p) \ge 0$, a multiplier $\beta \ge 0$
may take $\beta s (z - p)$ off the row, which is then no larger there (Wang et al. 2021).
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.lipschitz.graph import Step
from surefoot.certify.lipschitz.layer_bounds import SMALLEST
from surefoot.certify.lipschitz.rounding import gamma
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.input_set import UNIT, InputSet, products
from surefoot.certify.relaxation.relaxed_net import Known, RelaxedNet
from surefoot.certify.relaxation.rules import Bent


class Pull(NamedTuple):
    """What is taken off the rows of a flow, `[N, ...]` each: weights times (z - points)."""

    weights: Tensor
    points: Tensor


class _Total:
    """A sum for each row, and how large its parts are together: that bounds its rounding."""

    def __init__(self, rows: Tensor) -> None:
        self.value, self.size = rows.new_zeros(len(rows)), rows.new_zeros(len(rows))

    def add(self, part: Tensor) -> None:
        """Add a part to each row."""
        self.value = self.value + part
        self.size = self.size + part.detach().abs()

    def rounded_down(self) -> Tensor:
        """Return the sums, to the safe side; products below the normal numbers are lost, too."""
        return self.value - 1e-13 * self.size - 1e-200


class Substitution:
    """Substitute steps backwards into rows of coefficients.

    Args:
        net: with its relaxations.
        region: where the images may move.
        known: of each flow.
        counts: rows of each image, in order.
        pulls: of some flows, for runs back to the images.
    """

    def __init__(
        self,
        net: RelaxedNet,
        region: InputSet,
        known: Mapping[str, Known],
        counts: list[int],
        pulls: Mapping[str, Pull] | None = None,
    ) -> None:
        self.net, self.region, self.known, self.pulls = net, region, known, pulls or {}
        self.at_images: Tensor | None = None
        self.sizes: dict[str, Tensor] = {}
        ends = torch.tensor([0, *counts]).cumsum(0).tolist()
        if len(set(counts)) == 1:
            self.groups = [(slice(0, len(counts)), slice(0, ends[-1]))]
        else:
            spans = enumerate(slice(*one) for one in pairwise(ends))
            self.groups = [
                (slice(place, place + 1), span) for place, span in spans if span.stop > span.start
            ]

    def run(self, name: str, rows: Tensor, *, stop: bool) -> Tensor:
        """Return bounds `[N]`: back to the images, or with `stop` to the last steps not affine."""
        net, source = self.net, self.net.graph.source
        pending, total = {name: rows}, _Total(rows)
        for step in reversed(net.graph.steps):
            if step.name not in pending:
                continue
            rule, rows = net.rules[step.name], pending.pop(step.name)
            if step.name in self.pulls and not stop:
                weights, points = self.pulls[step.name]
                self.sizes[step.name] = rows.detach().flatten(1).abs().amax(1)
                rows, taken = rows - weights, (weights * points).flatten(1)
                total.add(taken.sum(1))
                # Where the row vanishes, no rounding of the step covers that of this sum.
                total.add(-4 * gamma(taken.shape[1] + 8, UNIT) * taken.abs().sum(1))
            if isinstance(rule, Affine):
                self._add_offset(total, rows, step)
                sources, parts = list(dict.fromkeys(step.sources)), rule.transpose(rows)
            elif stop:
                total.add(
                    self._grouped(rows, lambda here, own, s=step: self._box(s.name, here, own))
                )
                continue
            else:
                sources, parts = list(step.sources), [self._bent(total, rows, step, rule)]
            for flow, part in zip(sources, parts, strict=True):
                pending[flow] = pending[flow] + part if flow in pending else part
        if source in pending:
            rows = pending[source]
            if stop:
                total.add(self._grouped(rows, lambda here, own: self._box(source, here, own)))
            else:
                self.at_images = rows.detach()
                lost = SMALLEST * rows.abs().flatten(1).sum(1)
                total.add(self._grouped(rows, lambda here, own: self.region.of(here).least(own)))
                total.add(-lost)
        return total.rounded_down()

    def _grouped(self, rows: Tensor, bound: Callable[[slice, Tensor], Tensor]) -> Tensor:
        """Return what holds for the rows of each group of images, `[N]`."""
        found = [bound(here, rows[span].flatten(1)) for here, span in self.groups]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _box(self, name: str, here: slice, rows: Tensor) -> Tensor:
        """Return the least value of rows on the box of a flow."""
        lower, upper = self.known[name].lower[here].flatten(1), self.known[name].upper[here]
        upper = upper.flatten(1)
        middle = lower + (upper - lower) / 2
        half = torch.maximum(upper - middle, middle - lower)
        error = 4 * gamma(half.shape[1] + 8, UNIT) * (middle.abs() + half)
        return products(rows, middle) - products(rows.abs(), half + error)

    def _add_offset(self, total: _Total, rows: Tensor, step: Step) -> None:
        """Add what the offset of an affine step gives, less its rounding."""
        offset = self.net.offset(step).flatten()
        rounding = self._rounding(step)
        total.add(rows.flatten(1) @ offset)
        total.add(-self._grouped(rows, lambda here, own: products(own.abs(), rounding[here])))

    def _rounding(self, step: Step) -> Tensor:
        rounding = self.known[step.name].rounding
        assert rounding is not None
        return rounding.flatten(1)

    def _bent(self, total: _Total, rows: Tensor, step: Step, rule: Bent) -> Tensor:
        """Replace a step by its lines; return the coefficients of what flows into it."""
        lines, rounding, parts, constants = (
            self.known[step.name].lines,
            self._rounding(step),
            [],
            [],
        )
        for here, span in self.groups:
            many = (span.stop - span.start) // (here.stop - here.start)
            own = [one[here] for one in lines]
            if len(own[0]) > 1 and many > 1:
                own = [one.repeat_interleave(many, 0) for one in own]
            part, constant = rule.back(rows[span], type(lines)(*own))
            parts.append(part)
            constants.append(constant)
        total.add(constants[0] if len(parts) == 1 else torch.cat(constants))
        total.add(-self._grouped(rows, lambda here, own: products(own.abs(), rounding[here])))
        return parts[0] if len(parts) == 1 else torch.cat(parts)
