"""A net as steps that read its weights while they are trained: float32, with gradients.

The steps are those of the certificates (`certify.relaxation`), whose tables tell what each layer
does; layers with weights are built afresh at each use, because there they are constants.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from surefoot.certify.lipschitz.graph import Graph, Step, trace
from surefoot.certify.lipschitz.layer_bounds import Shape, check_known
from surefoot.certify.relaxation import affine
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.rules import RULES, Bent, rule_of_step
from surefoot.models.frozen import frozen
from surefoot.models.normalize import Normalize

Rules = dict[str, Affine | Bent]
Statistics = dict[nn.Module, tuple[Tensor, Tensor]]
"""Batch normalisation layer -> mean and variance of the batch, with a graph."""
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMALISED = (nn.BatchNorm1d, nn.BatchNorm2d)
DROPPING = (nn.Dropout, nn.Dropout2d)


class LiveNet:
    """A net as steps, for bounds with gradients.

    Args:
        model: of layers that relaxations know; any mode.
        shape: of an image.

    Raises:
        ValueError: a layer that relaxations do not know, or weights that no gradient would reach.
    """

    def __init__(self, model: nn.Module, shape: Shape) -> None:
        trained = {id(weight) for weight in model.parameters() if weight.requires_grad}
        with torch.no_grad(), frozen(model):
            self.graph: Graph = trace(model, shape)
            self.kinds = {
                step.name: check_known(step.layer, f"{type(step.layer).__name__} ({step.name})")
                for step in self.graph.steps
                if step.layer is not None
            }
            self.fixed = {step.name: self._fixed(step) for step in self.graph.steps}
        for step in self.graph.steps:
            if self.kinds.get(step.name) in (None, *WEIGHTED, *NORMALISED):
                continue
            assert step.layer is not None
            if trained & {id(weight) for weight in step.layer.parameters()}:
                raise ValueError(_unreached(f"the layer {type(step.layer).__name__}"))
        for node in self.graph.nodes.nodes:
            if node.op == "get_attr" and id(_attribute(self.graph, node)) in trained:
                raise ValueError(_unreached(f"the weight {node.target} between layers"))

    def _fixed(self, step: Step) -> Affine | Bent:
        kind = self.kinds.get(step.name)
        rule = rule_of_step(self.graph, step)
        if kind in DROPPING:
            assert step.shape is not None
            return affine.rearranged(lambda flow: flow, [step.shape])
        if not isinstance(rule, Affine) or kind in MOVED:
            return rule  # that of a layer that moves calls the layer itself, in any precision
        return _as_given(rule)

    def rules(self, statistics: Statistics) -> Rules:
        """Return what each step does with the weights of the moment.

        Args:
            statistics: of layers of batch normalisation that run with those of the batch; the
                others take the stored ones. Dropout is off: so is it in the certificate.
        """
        return {step.name: self._live(step, statistics) for step in self.graph.steps}

    def _live(self, step: Step, statistics: Statistics) -> Affine | Bent:
        layer: Any = step.layer
        kind = self.kinds.get(step.name)
        if kind in WEIGHTED:
            return self.weighted(step, layer.weight, layer.bias)
        if kind in NORMALISED:
            return _normalised(step, statistics)
        if kind is Normalize:
            mean, deviation = layer.mean.flatten(), layer.deviation.flatten()
            return _planes(step, 1 / deviation, mean, torch.zeros_like(mean))
        return self.fixed[step.name]

    def weighted(self, step: Step, weight: Tensor, bias: Tensor | None) -> Affine:
        """Return the dense layer or convolution of a step with other weights."""
        assert step.shape is not None
        if self.kinds[step.name] is nn.Linear:
            return affine.dense_by(weight, bias)
        return affine.convolved_by(step.layer, step.shape, weight, bias)


@lru_cache(maxsize=2)
def live_net(model: nn.Module, shape: Shape, epoch: int) -> LiveNet:
    """Read a net once an epoch."""
    del epoch
    return LiveNet(model, shape)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[Statistics]:
    """Record mean and variance of the batch at each batch normalisation that computes with them.

    The last pass within the block counts: bounds use the statistics of the very pass that gives the
    loss at the point, as the layer does.
    """
    found: Statistics = {}

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(given[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(given[0], axes, correction=0)
        found[layer] = (mean, variance)

    handles = [
        layer.register_forward_pre_hook(keep)
        for layer in model.modules()
        if isinstance(layer, NORMALISED) and (layer.training or layer.running_mean is None)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


MOVED = tuple(kind for kind in RULES if kind.__module__.startswith("torch.nn"))
"""Layers of torch: their rules call the layer itself."""


def _normalised(step: Step, statistics: Statistics) -> Affine:
    layer: Any = step.layer
    mean, variance = statistics.get(layer, (layer.running_mean, layer.running_var))
    factor, shift = (variance + layer.eps).rsqrt(), torch.zeros_like(mean)
    if layer.weight is not None:
        factor, shift = factor * layer.weight, layer.bias
    return _planes(step, factor, mean, shift)


def _planes(step: Step, factor: Tensor, mean: Tensor, shift: Tensor) -> Affine:
    assert step.shape is not None
    return affine.scaled_planes(factor, mean, shift, step.shape, (10, 1.0))


def _as_given(rule: Affine) -> Affine:
    """Return a rule of float64 for flows of any precision."""

    def apply(*flows: Tensor) -> Tensor:
        return rule.apply(*(flow.double() for flow in flows)).to(flows[0].dtype)

    def absolute(*flows: Tensor) -> Tensor:
        return rule.absolute(*(flow.double() for flow in flows)).to(flows[0].dtype)

    def transpose(coefficients: Tensor) -> tuple[Tensor, ...]:
        found = rule.transpose(coefficients.double())
        return tuple(part.to(coefficients.dtype) for part in found)

    return Affine(apply, absolute, transpose, rule.terms, rule.mixes)


def _attribute(graph: Graph, node: fx.Node) -> Any:
    found: Any = graph.module
    for name in str(node.target).split("."):
        found = getattr(found, name)
    return found


def _unreached(what: str) -> str:
    return (
        f"{what} is trained, but bounds give it no gradient: only dense layers, convolutions and"
        " batch normalisation have weights here. Put the weight into one of them, or set"
        " requires_grad=False for it"
    )
