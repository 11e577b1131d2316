r"""Slopes of lines that make a bound as large as gradient ascent finds (alpha-CROWN).

The bound that rows of coefficients give is a function of the slopes of all lines behind them, and
is true for every choice: each step of the ascent evaluates it with its rounding, and the largest
value that was seen counts. Each row has slopes of its own.

Xu et al. 2021 (slopes of ReLU), Wang et al. 2021 (multipliers of splits); slopes of smooth
functions are derived here: intercepts follow from them (`Curve.tilted`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.relaxation.backward import Pull, Substitution
from surefoot.certify.relaxation.curves import Lines
from surefoot.certify.relaxation.input_set import InputSet
from surefoot.certify.relaxation.relaxed_net import Known, RelaxedNet
from surefoot.certify.relaxation.several import WindowMax

STEPS = 20
RATE = 0.1
"""Of the ascent: how much of a slope a step changes, about."""
DECAY = 0.96


def spread(
    region: InputSet, known: Mapping[str, Known], index: Tensor
) -> tuple[InputSet, dict[str, Known]]:
    """Return region and bounds of images, one image a row."""
    parts = (region.origins, region.lower, region.upper, region.eps)
    found = {}
    for name, one in known.items():
        lines = None if one.lines is None else type(one.lines)(*(line[index] for line in one.lines))
        rounding = None if one.rounding is None else one.rounding[index]
        found[name] = Known(one.lower[index], one.upper[index], rounding, lines)
    return InputSet(*(part[index] for part in parts), region.norm), found


class Ascent:
    """Slopes, and multipliers of splits, of rows that are bounded together.

    Args:
        net: with its relaxations.
        region: of each row.
        known: of each row.
        splits: of some flows: signs `[N, ...]`, 0 without a split, and the points of the splits.
    """

    def __init__(
        self,
        net: RelaxedNet,
        region: InputSet,
        known: Mapping[str, Known],
        splits: Mapping[str, Pull] | None = None,
    ) -> None:
        self.net, self.region, self.known, self.splits = net, region, known, splits or {}
        self.slopes: dict[str, list[Tensor]] = {}
        self.sizes: dict[str, Tensor] = {}
        self.multipliers = {
            name: torch.zeros_like(split.weights) for name, split in self.splits.items()
        }
        for step in net.graph.steps:
            rule = net.rules[step.name]
            if step.name not in known or not isinstance(known[step.name].lines, Lines):
                continue
            assert not isinstance(rule, WindowMax)
            lines = known[step.name].lines
            both = getattr(rule, "critical", None) is not None or not getattr(rule, "convex", True)
            slopes = [lines.lower_slope, lines.upper_slope] if both else [lines.lower_slope]
            self.slopes[step.name] = [slope.detach().clone() for slope in slopes]

    def bound(self, name: str, rows: Tensor) -> tuple[Tensor, Substitution]:
        """Return what the slopes and multipliers of now prove of rows of a flow, and how."""
        tilted = {}
        for step, slopes in self.slopes.items():
            (source,) = self.net.steps[step].sources
            ends, rule = self.known[source], self.net.rules[step]
            assert not isinstance(rule, WindowMax) and hasattr(rule, "tilted")
            own = self.known[step]
            lines = rule.tilted(ends.lower, ends.upper, own.lines, slopes)  # pyright: ignore
            tilted[step] = own._replace(lines=lines)
        pulls = {
            one: Pull(self._scaled(one) * split.weights, split.points)
            for one, split in self.splits.items()
        }
        counts = [1] * len(rows)
        back = Substitution(self.net, self.region, {**self.known, **tilted}, counts, pulls)
        found = back.run(name, rows, stop=False)
        self.sizes = self.sizes or back.sizes
        return found, back

    def _scaled(self, name: str) -> Tensor:
        """Return multipliers, in units of the largest coefficient of each row there."""
        found = self.multipliers[name]
        if name not in self.sizes:
            return found
        return found * self.sizes[name].view(-1, *(1,) * (found.ndim - 1))

    def climb(self, name: str, rows: Tensor, steps: int = STEPS, enough: float = torch.inf) -> tuple[Tensor, Substitution]:
        """Return the largest bounds that were seen, `[N]`, and the last substitution."""
        leaves = [slope for slopes in self.slopes.values() for slope in slopes]
        if not leaves:
            return self.bound(name, rows)
        rates = [float(slope.abs().amax()) for slope in leaves]
        groups = [
            {"params": [leaf.requires_grad_()], "lr": RATE * (rate or 1.0)}
            for leaf, rate in zip(leaves, rates, strict=True)
        ]
        groups += [{"params": [one.requires_grad_()]} for one in self.multipliers.values()]
        ends = {step: self._ends(step) for step in self.slopes}
        optimizer = torch.optim.Adam(groups, lr=RATE)
        best = rows.new_full((len(rows),), -torch.inf)
        for turn in range(steps + 1):
            with torch.enable_grad():
                found, back = self.bound(name, rows)
            best = torch.fmax(best, found.detach())
            if turn == steps or not found.requires_grad or bool((best > enough).all()):
                break
            optimizer.zero_grad()
            found.backward(-torch.ones_like(found))
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= DECAY
            with torch.no_grad():
                for step, slopes in self.slopes.items():
                    for slope in slopes:
                        slope.clamp_(*ends[step])
                for one in self.multipliers.values():
                    one.clamp_(min=0)
        for leaf in (*leaves, *self.multipliers.values()):
            leaf.requires_grad_(False)
        return best, back

    def _ends(self, step: str) -> tuple[float, float]:
        """Return between which slopes a good line may lie."""
        pieces = getattr(self.net.rules[step], "pieces", (0.0, 1.0))
        return (min(pieces), max(pieces)) if pieces else (-2.0, 2.0)

