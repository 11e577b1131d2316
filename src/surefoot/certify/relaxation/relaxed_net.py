"""A net as steps with relaxations, and what is known of each of them around some images."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot.certify.lipschitz.graph import Graph, Step
from surefoot.certify.lipschitz.rounding import gamma
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.input_set import UNIT, InputSet
from surefoot.certify.relaxation.rules import Bent, rule_of_step, shape_of
from surefoot.models.frozen import device_of


class Known(NamedTuple):
    """What is known of a step for some images: bounds `[B, ...]`, lines, and rounding."""

    lower: Tensor
    upper: Tensor
    rounding: Tensor | None = None
    lines: Any = None


def rounding_of_lines(rule: Bent, lower: Tensor, upper: Tensor, lines: Any) -> Tensor:
    """Bound what float64 rounds off where rows pass the lines of a step, number by number."""
    return 8 * gamma(lower[0].numel() + 64, UNIT) * rule.size(lower, upper, lines)


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
        self._offsets: dict[str, Tensor] = {}

    def exact(self, name: str, region: InputSet) -> bool:
        """Return whether intervals are exact: at most one step mixes pixels of a box."""
        return region.norm == "linf" and self.mixed[name] <= 1

    def offset(self, step: Step) -> Tensor:
        """Return what an affine step gives for zeros, `[1, ...]`."""
        if step.name not in self._offsets:
            rule, names = self.rules[step.name], dict.fromkeys(step.sources)
            assert isinstance(rule, Affine)
            like = {"dtype": torch.float64, "device": device_of(self.graph.module)}
            none = [torch.zeros(1, *shape_of(self.graph, name), **like) for name in names]
            self._offsets[step.name] = rule.apply(*none)
        return self._offsets[step.name]
