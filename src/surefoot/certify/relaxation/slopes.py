r"""Slopes of lines that make a bound as large as gradient ascent finds (alpha-CROWN).

The bound that rows of coefficients give is a function of the slopes of all lines behind them, and
is true for every choice: each step of the ascent evaluates it with its rounding, and the largest
value that was seen counts. Each row has slopes of its own.

Xu et al. 2021 (slopes of ReLU), Wang et al. 2021 (multipliers of splits); slopes of smooth
functions are derived here: intercepts follow from them (`Curve.tilted`).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.backward import Pull, Substitution
from surefoot.certify.relaxation.curves import Lines
from surefoot.certify.relaxation.input_set import InputSet
from surefoot.certify.relaxation.relaxed_net import Known, RelaxedNet, rounding_of_lines
from surefoot.certify.relaxation.several import WindowMax

STEPS = 20
RATE = 0.1
"""Of the ascent: how much of a slope a step changes, about."""
DECAY = 0.96


def spread(
    region: InputSet, known: Mapping[str, Known], index: Tensor
) -> tuple[InputSet, dict[str, Known]]:
    """Return region and bounds of images, one image a row."""
    found = {}
    for name, one in known.items():
        lines = None if one.lines is None else type(one.lines)(*(line[index] for line in one.lines))
        rounding = None if one.rounding is None else one.rounding[index]
        found[name] = Known(one.lower[index], one.upper[index], rounding, lines)
    ends = region.lower[index], region.upper[index]
    return InputSet(region.origins[index], *ends, region.eps[index], region.norm), found


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

    def bound(self, name: str, rows: Tensor) -> Tensor:
        """Return what the slopes and multipliers of now prove of rows of a flow, `[N]`."""
        tilted = {}
        for step, slopes in self.slopes.items():
            (source,) = self.net.steps[step].sources
            ends, rule = self.known[source], self.net.rules[step]
            assert not isinstance(rule, WindowMax | Affine)
            own = self.known[step]
            lines = rule.tilted(ends.lower, ends.upper, own.lines, slopes)
            with torch.no_grad():  # steeper lines may round more than those at hand
                more, at_hand = (
                    rounding_of_lines(rule, ends.lower, ends.upper, one)
                    for one in (lines, own.lines)
                )
            assert own.rounding is not None
            rounding = own.rounding + (more - at_hand).clamp(min=0)
            tilted[step] = own._replace(lines=lines, rounding=rounding)
        pulls = {
            one: Pull(self._scaled(one) * split.weights, split.points)
            for one, split in self.splits.items()
        }
        counts = [1] * len(rows)
        back = Substitution(self.net, self.region, {**self.known, **tilted}, counts, pulls)
        found = back.run(name, rows, stop=False)
        self.sizes = self.sizes or back.sizes
        return found

    def _scaled(self, name: str) -> Tensor:
        """Return multipliers, in units of the largest coefficient of each row there."""
        found = self.multipliers[name]
        if name not in self.sizes:
            return found
        return found * self.sizes[name].view(-1, *(1,) * (found.ndim - 1))

    def climb(
        self, name: str, rows: Tensor, steps: int = STEPS, enough: float = torch.inf
    ) -> Tensor:
        """Return the largest bounds on rows of a flow that were seen on the way, `[N]`.

        Args:
            name: of the flow.
            rows: `[N, ...]`.
            steps: of Adam.
            enough: stop where all bounds are above this.
        """
        leaves = [slope for slopes in self.slopes.values() for slope in slopes]
        if not leaves:
            return self.bound(name, rows)
        leaves += self.multipliers.values()
        optimizer = self._optimizer()
        with torch.enable_grad():
            best = found = self.bound(name, rows)
        for _ in range(steps):
            if not found.requires_grad or bool((best > enough).all()):
                break
            optimizer.zero_grad()
            found.backward(-torch.ones_like(found))
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= DECAY
            self._clamp()
            with torch.enable_grad():
                found = self.bound(name, rows)
            best = torch.fmax(best.detach(), found.detach())
        for leaf in leaves:
            leaf.requires_grad_(False)
        return best.detach()

    def _optimizer(self) -> torch.optim.Adam:
        """Return Adam; slopes change in units of the steepest line of their step."""
        groups: list[dict[str, Any]] = []
        for slopes in self.slopes.values():
            for slope in slopes:
                rate = RATE * (float(slope.abs().amax()) or 1.0)
                groups.append({"params": [slope.requires_grad_()], "lr": rate})
        groups += [{"params": [one.requires_grad_()]} for one in self.multipliers.values()]
        return torch.optim.Adam(groups, lr=RATE)

    @torch.no_grad()
    def _clamp(self) -> None:
        """Keep slopes where good lines lie, and multipliers at least 0: soundness asks for that."""
        for step, slopes in self.slopes.items():
            for slope in slopes:
                slope.clamp_(*self._ends(step))
        for one in self.multipliers.values():
            one.clamp_(min=0)

    def _ends(self, step: str) -> tuple[float, float]:
        """Return between which slopes a good line may lie."""
        pieces = getattr(self.net.rules[step], "pieces", (0.0, 1.0))
        return (min(pieces), max(pieces)) if pieces else (-2.0, 2.0)
