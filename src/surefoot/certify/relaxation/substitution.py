r"""Bounds on all numbers of a net around images: intervals, and lines substituted backwards.

The net is bounded as it runs: each step is $z = W h + b + d$, and its rounding in the arithmetic of
the net is $|d| \le \gamma_n (|W| |h| + |b|)$; the same form covers the rounding of the bounds
themselves in float64. So d is one more disturbance, known number by number (`Known.rounding`), and
a row A of coefficients loses $|A| d$ at each step that it passes.

Gowal et al. 2018 (intervals: IBP); Zhang et al. 2018 (CROWN); Xu et al. 2020 (general graphs);
rounding as a disturbance is derived here, with gamma of Higham 2002, chapter 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.certify.lipschitz.graph import Graph, Step
from surefoot.certify.lipschitz.layer_bounds import LARGEST, SMALLEST
from surefoot.certify.lipschitz.rounding import gamma
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.input_set import UNIT, InputSet
from surefoot.certify.relaxation.rules import Bent, rule_of_step, shape_of

Effort = Literal["ibp", "crown"]
"""ibp: intervals alone; crown: lines substituted back to the images."""
MEMORY = 2**28
"""Bytes that the coefficients of a chunk of rows may take, about."""
BATCH = 20
"""Images at a time."""


class Known(NamedTuple):
    """What is known of a step for some images: bounds `[B, ...]`, lines, and rounding."""

    lower: Tensor
    upper: Tensor
    rounding: Tensor | None = None
    lines: Any = None


class RelaxedNet:
    """A net as steps with relaxations, measured from its weights.

    Args:
        graph: of the net, in eval mode.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rules: dict[str, Affine | Bent] = {}
        self.mixed = {graph.source: 0}
        for step in graph.steps:
            rule = rule_of_step(graph, step)
            self.rules[step.name] = rule
            depth = max(self.mixed[one] for one in step.sources)
            if not isinstance(rule, Affine):
                depth = 2
            elif rule.mixes or (len(step.sources) > 1 and step.join == "sum"):
                depth += 1
            self.mixed[step.name] = depth
        self.steps = {step.name: step for step in graph.steps}

    def exact(self, name: str, region: InputSet) -> bool:
        """Return whether intervals are exact: at most one step mixes pixels of a box."""
        return region.norm == "linf" and self.mixed[name] <= 1


@dataclass
class Bounds:
    """The bounds of a net around some images, from the images on.

    Args:
        net: to bound.
        region: where the images may move.
        unit: of the arithmetic in which the net runs.
        effort: what they may cost.
        known: of each flow.
        usable: `[B]`, whether no number can overflow.
    """

    net: RelaxedNet
    region: InputSet
    unit: float
    effort: Effort
    known: dict[str, Known] = field(default_factory=dict)
    usable: Tensor = field(default_factory=lambda: torch.ones(()))

    def __post_init__(self) -> None:
        graph, region = self.net.graph, self.region
        read = torch.full_like(region.lower, SMALLEST)  # a tiny pixel may be read as 0
        self.known[graph.source] = Known(region.lower - read, region.upper + read, read)
        self.usable = torch.ones(len(region.lower), dtype=torch.bool, device=read.device)
        for step in graph.steps:
            rule = self.net.rules[step.name]
            affine = isinstance(rule, Affine)
            found = self._affine(step, rule) if affine else self._bent(step, rule)
            self.known[step.name] = found
            size = torch.maximum(found.lower.abs(), found.upper.abs()).flatten(1).amax(1)
            self.usable &= size <= LARGEST  # NaN is not

    def _affine(self, step: Step, rule: Affine) -> Known:
        sources = [self.known[name] for name in dict.fromkeys(step.sources)]
        middles = [one.lower + (one.upper - one.lower) / 2 for one in sources]
        halves = [
            torch.maximum(one.upper - middle, middle - one.lower)
            for one, middle in zip(sources, middles, strict=True)
        ]
        sizes = [torch.maximum(one.lower.abs(), one.upper.abs()) for one in sources]
        offset = rule.apply(*(torch.zeros_like(one[:1]) for one in middles))
        largest = torch.stack([one.flatten(1).amax(1) for one in sizes]).amax(0)
        whole = rule.absolute(*sizes) + offset.abs()
        reach = rule.absolute(*(torch.ones_like(one[:1]) for one in middles)).amax()
        inside = rule.peak * (whole.flatten(1).amax(1) + largest + 1)
        self.usable &= inside <= LARGEST
        features = max(whole[0].numel(), *(one[0].numel() for one in sizes))
        own = gamma(rule.terms, self.unit) + 8 * gamma(features + 64, UNIT)
        # Flushed to zero: products, numbers that are read, weights.
        flushed = SMALLEST * (rule.terms + 2) * rule.peak * (1 + reach) * (1 + largest)
        exact = rule.terms == 0
        rounding = whole * own + flushed.view(-1, *(1,) * (whole.ndim - 1))
        if exact:
            rounding = whole * 8 * gamma(features + 64, UNIT)
        if rule.terms and rule.peak > 1:  # a mean is subtracted first, and what is left rounds
            rounding = rounding + own * rule.peak * reach
        middle, half = rule.apply(*middles), rule.absolute(*halves) + rounding
        return Known(middle - half, middle + half, rounding)

    def _bent(self, step: Step, rule: Bent) -> Known:
        (source,) = step.sources
        if self.effort != "ibp" and not self.net.exact(source, self.region):
            self._tighten(source, rule)
        lower, upper = self.known[source].lower, self.known[source].upper
        lines: Any = rule.lines(lower, upper)
        least, most = rule.range(lower, upper)
        size = torch.maximum(lower.abs(), upper.abs())
        if size.shape == least.shape:  # ends of a clamp may be larger than what flows in
            size = torch.maximum(size, torch.maximum(least.abs(), most.abs()))
        rounding = 8 * gamma(size[0].numel() + 64, UNIT) * rule.size(lower, upper, lines)
        if rule.terms:
            own = gamma(rule.terms, self.unit) * (1 + size) + SMALLEST * (rule.terms + 2)
            rounding, least, most = rounding + own, least - own, most + own
        return Known(least, most, rounding, lines)

    def _tighten(self, name: str, rule: Bent) -> None:
        """Improve the bounds of a flow where a step needs it, by lines back to the images."""
        known = self.known[name]
        wanted = rule.unstable(known.lower, known.upper) & self.usable.view(
            -1, *(1,) * (known.lower.ndim - 1)
        )
        places = wanted.flatten(1).nonzero()
        if len(places) == 0:
            return
        lower, upper = known.lower.flatten(1).clone(), known.upper.flatten(1).clone()
        features, shape = lower.shape[1], known.lower.shape[1:]
        for part in places.split(self._chunk(name)):
            rows = lower.new_zeros(2 * len(part), features)
            index = torch.arange(len(part), device=rows.device)
            # Of each image first the lower ends, then the upper ones: rows of one image in a row.
            counts = torch.bincount(part[:, 0], minlength=len(lower)).tolist()
            before = torch.tensor([0, *counts], device=rows.device).cumsum(0)[:-1]
            first = index + before[part[:, 0]]
            many = torch.tensor(counts, device=rows.device)[part[:, 0]]
            rows[first, part[:, 1]], rows[first + many, part[:, 1]] = 1.0, -1.0
            back = _Substitution(self, [2 * count for count in counts])
            found = back.run(name, rows.view(-1, *shape), stop=False)
            image, place = part.unbind(1)
            lower[image, place] = torch.fmax(lower[image, place], found[first])
            upper[image, place] = torch.fmin(upper[image, place], -found[first + many])
        self.known[name] = known._replace(
            lower=lower.view_as(known.lower), upper=upper.view_as(known.upper)
        )

    def _chunk(self, name: str) -> int:
        """Return how many numbers to tighten at a time."""
        widest = max(one.lower[0].numel() for one in self.known.values())
        return max(MEMORY // (2 * 6 * 8 * widest), 1)

    def margins(self, pairs: Tensor) -> Tensor:
        """Bound differences of logits from below where wanted.

        Args:
            pairs: Bool[B, C, C], which f_a - f_i.

        Returns:
            `[B, C, C]`; minus infinity where it was not wanted or is not known.
        """
        name = self.net.graph.result
        found = self.region.lower.new_full(pairs.shape, -torch.inf)
        places = (pairs & self.usable.view(-1, 1, 1)).nonzero()
        for part in places.split(2 * self._chunk(name)) if len(places) else ():
            image, better, worse = part.unbind(1)
            rows = found.new_zeros(len(part), pairs.shape[2])
            index = torch.arange(len(part), device=rows.device)
            rows[index, better], rows[index, worse] = 1.0, -1.0
            counts = torch.bincount(image, minlength=len(pairs)).tolist()
            back = _Substitution(self, counts)
            least = back.run(name, rows, stop=True)
            if self.effort != "ibp":
                least = torch.fmax(least, back.run(name, rows, stop=False))
            found[image, better, worse] = least.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        return found


class _Total:
    """A sum for each row, and how large its parts are together: that bounds its rounding."""

    def __init__(self, rows: Tensor) -> None:
        self.value, self.size = rows.new_zeros(len(rows)), rows.new_zeros(len(rows))

    def add(self, span: slice, part: Tensor) -> None:
        """Add a part to some rows."""
        self.value[span] += part
        self.size[span] += part.abs()

    def rounded_down(self) -> Tensor:
        """Return the sums, to the safe side; products below the normal numbers are lost, too."""
        return self.value - 1e-13 * self.size - 1e-200


class _Substitution:
    """Substitute steps backwards into rows of coefficients.

    Args:
        bounds: what is known of the net.
        counts: rows of each image, in order.
    """

    def __init__(self, bounds: Bounds, counts: list[int]) -> None:
        self.bounds = bounds
        ends = torch.tensor([0, *counts]).cumsum(0).tolist()
        spans = enumerate(slice(*one) for one in pairwise(ends))
        self.spans = [(place, span) for place, span in spans if span.stop > span.start]

    def run(self, name: str, rows: Tensor, *, stop: bool) -> Tensor:
        """Return bounds `[N]`: back to the images, or with `stop` to the last steps not affine."""
        bounds, net = self.bounds, self.bounds.net
        pending, total = {name: rows}, _Total(rows)
        for step in reversed(net.graph.steps):
            if step.name not in pending:
                continue
            rule, rows = net.rules[step.name], pending.pop(step.name)
            if isinstance(rule, Affine):
                self._add_offset(total, rows, step, rule)
                sources, parts = list(dict.fromkeys(step.sources)), rule.transpose(rows)
            elif stop:
                self._add(total, lambda place, own, s=step: self._box(s.name, place, own), rows)
                continue
            else:
                sources, parts = list(step.sources), [self._bent(total, rows, step, rule)]
            for source, part in zip(sources, parts, strict=True):
                pending[source] = pending[source] + part if source in pending else part
        if net.graph.source in pending:
            rows = pending[net.graph.source]

            def at_images(place: int, own: Tensor) -> Tensor:
                if stop:
                    return self._box(net.graph.source, place, own)
                lost = SMALLEST * own.abs().flatten(1).sum(1)
                return bounds.region.of(place).least(own) - lost

            self._add(total, at_images, rows)
        return total.rounded_down()

    def _add(self, total: "_Total", bound: Callable[[int, Tensor], Tensor], rows: Tensor) -> None:
        """Add to the total what holds for the rows of each image."""
        for place, span in self.spans:
            total.add(span, bound(place, rows[span]))

    def _box(self, name: str, place: int, rows: Tensor) -> Tensor:
        """Return the least value of rows on the box of a flow."""
        known = self.bounds.known[name]
        lower, upper = known.lower[place].flatten(), known.upper[place].flatten()
        middle = lower + (upper - lower) / 2
        half = torch.maximum(upper - middle, middle - lower)
        error = 4 * gamma(len(half) + 8, UNIT) * (middle.abs() + half)
        rows = rows.flatten(1)
        return rows @ middle - rows.abs() @ (half + error)

    def _add_offset(self, total: "_Total", rows: Tensor, step: Step, rule: Affine) -> None:
        """Add what the offset of an affine step gives, less its rounding."""
        graph = self.bounds.net.graph
        none = [rows.new_zeros(1, *shape_of(graph, name)) for name in dict.fromkeys(step.sources)]
        offset = rule.apply(*none).flatten()
        rounding = self.bounds.known[step.name].rounding
        assert rounding is not None

        def shifted(place: int, own: Tensor) -> Tensor:
            own = own.flatten(1)
            return own @ offset - own.abs() @ rounding[place].flatten()

        self._add(total, shifted, rows)

    def _bent(self, total: "_Total", rows: Tensor, step: Step, rule: Bent) -> Tensor:
        """Replace a step by its lines; return the coefficients of what flows into it."""
        known = self.bounds.known[step.name]
        assert known.rounding is not None
        parts = []
        for place, span in self.spans:
            lines = type(known.lines)(*(one[place : place + 1] for one in known.lines))
            part, constant = rule.back(rows[span], lines)
            own = rows[span].flatten(1).abs()
            total.add(span, constant - own @ known.rounding[place].flatten())
            parts.append(part)
        return torch.cat(parts)
