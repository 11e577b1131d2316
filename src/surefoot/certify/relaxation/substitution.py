r"""Bounds on all numbers of a net around images: intervals, and lines substituted backwards.

The net is bounded as it runs: each step is $z = W h + b + d$, and its rounding in the arithmetic of
the net is $|d| \le \gamma_n (|W| |h| + |b|)$; the same form covers the rounding of the bounds
themselves in float64. So d is one more disturbance, known number by number (`Known.rounding`), and
a row A of coefficients loses $|A| d$ at each step that it passes.

Gowal et al. 2018 (intervals: IBP); Zhang et al. 2018 (CROWN); Xu et al. 2020 (general graphs);
rounding as a disturbance is derived here, with gamma of Higham 2002, chapter 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from surefoot.certify.lipschitz.graph import Step
from surefoot.certify.lipschitz.layer_bounds import LARGEST, SMALLEST
from surefoot.certify.lipschitz.rounding import gamma
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.backward import Pull, Substitution
from surefoot.certify.relaxation.curves import Lines
from surefoot.certify.relaxation.input_set import UNIT, InputSet
from surefoot.certify.relaxation.relaxed_net import Known, RelaxedNet, rounding_of_lines
from surefoot.certify.relaxation.rules import Bent
from surefoot.certify.relaxation.slopes import Ascent, spread

Ends = tuple[Tensor, Tensor]
Effort = Literal["ibp", "crown", "alpha-crown"]
"""ibp: intervals alone; crown: lines substituted back to the images; alpha-crown: lines whose
slopes are optimised."""
OPTIMISED = 2**20
"""Numbers in the coefficients of a hidden flow whose slopes are optimised: beyond that, the time
is better spent on splitting."""
MEMORY = 2**28
"""Bytes that the coefficients of a chunk of rows may take, about."""
BATCH = 20
"""Images at a time."""


@dataclass
class Bounds:
    """The bounds of a net around some images, from the images on.

    Args:
        net: to bound.
        region: where the images may move.
        unit: of the arithmetic in which the net runs.
        effort: what they may cost.
        clamps: ends of some flows that were proven before, or hold in the part that is looked at.
        shifts: if given, receives for each step that is bent what is added to its lines, zeros; the
            gradient of a bound says how much each line costs.
        known: of each flow.
        usable: `[B]`, whether no number can overflow.
        empty: `[B]`, whether no point of the region fulfils the clamps.
    """

    net: RelaxedNet
    region: InputSet
    unit: float
    effort: Effort
    clamps: Mapping[str, Ends] = field(default_factory=dict)
    shifts: dict[str, Lines] | None = None
    known: dict[str, Known] = field(default_factory=dict)
    usable: Tensor = field(default_factory=lambda: torch.ones(()))
    empty: Tensor = field(default_factory=lambda: torch.zeros(()))

    def __post_init__(self) -> None:
        graph, region = self.net.graph, self.region
        read = torch.full_like(region.lower, SMALLEST)  # a tiny pixel may be read as 0
        self.known[graph.source] = Known(region.lower - read, region.upper + read, read)
        self.usable = torch.ones(len(region.lower), dtype=torch.bool, device=read.device)
        self.empty = ~self.usable
        for step in graph.steps:
            rule = self.net.rules[step.name]
            affine = isinstance(rule, Affine)
            found = self._affine(step, rule) if affine else self._bent(step, rule)
            if step.name in self.clamps:
                found = self._met(found, *self.clamps[step.name])
            self.known[step.name] = found
            size = torch.maximum(found.lower.abs(), found.upper.abs()).flatten(1).amax(1)
            self.usable &= size <= LARGEST  # NaN is not

    def _met(self, known: Known, lower: Tensor, upper: Tensor) -> Known:
        """Return the bounds that hold with other ends, too; the region may turn out to be empty."""
        lower = torch.fmax(known.lower, lower)
        upper = torch.fmin(known.upper, upper)
        self.empty = self.empty | (lower > upper).flatten(1).any(1)
        return known._replace(lower=lower, upper=torch.fmax(lower, upper))

    def _affine(self, step: Step, rule: Affine) -> Known:
        sources = [self.known[name] for name in dict.fromkeys(step.sources)]
        middles = [one.lower + (one.upper - one.lower) / 2 for one in sources]
        halves = [
            torch.maximum(one.upper - middle, middle - one.lower)
            for one, middle in zip(sources, middles, strict=True)
        ]
        sizes = [torch.maximum(one.lower.abs(), one.upper.abs()) for one in sources]
        offset = self.net.offset(step)
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
        if self.shifts is not None and isinstance(lines, Lines):
            none = [torch.zeros_like(lines.lower).requires_grad_() for _ in range(2)]
            lines = lines._replace(lower=lines.lower - none[0], upper=lines.upper + none[1])
            self.shifts[step.name] = Lines(lower, none[0], upper, none[1])
        least, most = rule.range(lower, upper)
        size = torch.maximum(lower.abs(), upper.abs())
        if size.shape == least.shape:  # ends of a clamp may be larger than what flows in
            size = torch.maximum(size, torch.maximum(least.abs(), most.abs()))
        rounding = rounding_of_lines(rule, lower, upper, lines)
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
        wanted = _alike(wanted.flatten(1))
        places = wanted.nonzero()
        if len(places) == 0:
            return
        lower, upper = known.lower.flatten(1).clone(), known.upper.flatten(1).clone()
        features, shape = lower.shape[1], known.lower.shape[1:]
        for part in places.split(self._chunk(name)):
            rows = lower.new_zeros(2 * len(part), features)
            index = torch.arange(len(part), device=rows.device)
            # Of each image first the lower ends, then the upper ones: rows of one image in a row.
            counts = torch.bincount(part[:, 0], minlength=len(lower))
            before = counts.cumsum(0) - counts
            first = index + before[part[:, 0]]
            many = counts[part[:, 0]]
            rows[first, part[:, 1]], rows[first + many, part[:, 1]] = 1.0, -1.0
            found = self._back(name, rows.view(-1, *shape), (2 * counts).tolist())
            image, place = part.unbind(1)
            lower[image, place] = torch.fmax(lower[image, place], found[first])
            upper[image, place] = torch.fmin(upper[image, place], -found[first + many])
        self.known[name] = self._met(known, lower.view_as(known.lower), upper.view_as(known.upper))

    def _back(self, name: str, rows: Tensor, counts: list[int]) -> Tensor:
        """Bound rows of a flow from below: by lines, and with better slopes where that pays."""
        found = Substitution(self.net, self.region, self.known, counts).run(name, rows, stop=False)
        widest = max(one.lower[0].numel() for one in self.known.values())
        last = name == self.net.graph.result
        if self.effort != "alpha-crown" or (not last and len(rows) * widest > OPTIMISED):
            return found
        index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(rows.device)
        region, known = spread(self.region, self.known, index)
        return torch.fmax(found, Ascent(self.net, region, known).climb(name, rows))

    def climbed(
        self, rows: Tensor, image: Tensor, steps: int, splits: Mapping[str, Pull], enough: float
    ) -> Tensor:
        """Bound rows of outputs as `least` does, with slopes and multipliers that are optimised.

        Args:
            rows: `[N, O]`, coefficients of the outputs.
            image: `[N]`, of which image each row is.
            steps: of gradient ascent.
            splits: signs s and points p of what is known of some flows, s (z - p) >= 0, `[B, ...]`.
            enough: stop where all bounds are above this.
        """
        region, known = spread(self.region, self.known, image)
        splits = {name: Pull(one.weights[image], one.points[image]) for name, one in splits.items()}
        ascent = Ascent(self.net, region, known, splits)
        return ascent.climb(self.net.graph.result, rows, steps, enough)

    def pulls(self, rows: Tensor) -> Tensor:
        """Return the coefficients of the inputs in the bounds on rows of outputs, one an image."""
        back = Substitution(self.net, self.region, self.known, [1] * len(rows))
        back.run(self.net.graph.result, rows, stop=False)
        found = torch.zeros_like(self.region.lower)
        return found if back.at_images is None else back.at_images

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
        found = self.region.lower.new_full(pairs.shape, -torch.inf)
        image, better, worse = pairs.nonzero().unbind(1)
        rows = found.new_zeros(len(image), pairs.shape[2])
        index = torch.arange(len(image), device=rows.device)
        rows[index, better], rows[index, worse] = 1.0, -1.0
        found[image, better, worse] = self.least(rows, image)
        return found

    def least(self, rows: Tensor, image: Tensor) -> Tensor:
        """Bound rows of outputs from below.

        Args:
            rows: `[N, O]`, coefficients of the outputs.
            image: `[N]`, of which image each row is; in order.

        Returns:
            `[N]`; minus infinity where nothing is known.
        """
        name, found = self.net.graph.result, []
        if len(rows) == 0:
            return rows.new_zeros(0)
        for part, own in zip(
            *(one.split(2 * self._chunk(name)) for one in (rows, image)), strict=True
        ):
            counts = torch.bincount(own, minlength=len(self.usable)).tolist()
            back = Substitution(self.net, self.region, self.known, counts)
            least = back.run(name, part, stop=True)
            if self.effort != "ibp":
                least = torch.fmax(least, self._back(name, part, counts))
            least = least.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
            found.append(least.masked_fill(~self.usable[own], -torch.inf))
        return torch.cat(found)


def _alike(wanted: Tensor) -> Tensor:
    """Return which numbers to tighten: the same ones of all images, if that costs less.

    Rows of many images, as many of each, are one product; else each image is one of its own, which
    costs about as much as 20,000 numbers more.
    """
    together = wanted.any(0)
    apart = int(wanted.sum()) * wanted.shape[1] + 20_000 * len(wanted)
    cheaper = len(wanted) * int(together.sum()) * wanted.shape[1] <= apart
    return together.expand_as(wanted) if cheaper and len(wanted) > 1 else wanted
