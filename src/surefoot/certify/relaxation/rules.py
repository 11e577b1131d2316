"""What is known of each kind of layer, and of each operation between layers: one table each."""

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from surefoot.certify.lipschitz.graph import CLAMPS, Graph, Step
from surefoot.certify.lipschitz.kinds import check_tensors
from surefoot.certify.lipschitz.layer_bounds import Shape, check_known, make_readable
from surefoot.certify.relaxation import affine, curves
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.curves import Curve
from surefoot.certify.relaxation.several import PairSort, WindowMax
from surefoot.models.lipschitz.one_lipschitz import MinMax, Scale, Shift
from surefoot.models.normalize import Normalize

Bent = Curve | PairSort | WindowMax
"""A step that lies between linear bounds."""
IN_PLACE = ("iadd", "isub", "imul", "itruediv")
Rule = Callable[[Any, Shape], Affine | Bent]


def _moving(terms: Callable[[Any, Shape], int]) -> Rule:
    """Return the rule of a layer without weights that moves, scales or averages features."""

    def rule(layer: nn.Module, shape: Shape) -> Affine:
        if layer.training and isinstance(layer, nn.Dropout | nn.Dropout2d):
            raise ValueError("dropout that stays random in eval mode has no relaxation")
        count = terms(layer, shape)
        return affine.rearranged(layer, [shape], count, mixes=count > 2)

    return rule


def _padded(layer: Any, shape: Shape) -> Affine:
    _check_pad(type(layer).__name__, layer.value)
    return affine.rearranged(layer, [shape], 2 * bool(layer.value))  # the value is rounded


def _check_pad(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"{name} with {value} has no relaxation: bounds are finite. In front of a max pool,"
            " give the pool itself the padding, or ceil_mode=True for one that is only behind"
        )


def _taps(layer: Any, shape: Shape) -> int:
    size = layer.kernel_size
    return (size * size if isinstance(size, int) else math.prod(size)) + 2


_MOVED = _moving(lambda layer, shape: 0)
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: affine.dense,
    nn.Conv1d: affine.convolved,
    nn.Conv2d: affine.convolved,
    nn.BatchNorm1d: affine.batch_norm,
    nn.BatchNorm2d: affine.batch_norm,
    Normalize: affine.normalised,
    **dict.fromkeys((nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d), _MOVED),
    **dict.fromkeys((nn.ZeroPad2d, nn.ConstantPad2d), _padded),
    **dict.fromkeys((nn.PixelShuffle, nn.PixelUnshuffle, Shift), _MOVED),
    Scale: _moving(lambda layer, shape: 2),
    nn.AvgPool2d: _moving(_taps),
    nn.AdaptiveAvgPool2d: _moving(lambda layer, shape: shape[-1] * shape[-2] + 2),
    nn.MaxPool2d: WindowMax,
    MinMax: lambda layer, shape: PairSort(),
    nn.ReLU: lambda layer, shape: curves.RELU,
    nn.ReLU6: lambda layer, shape: curves.clamped(0.0, 6.0),
    nn.Hardtanh: lambda layer, shape: curves.clamped(layer.min_val, layer.max_val),
    nn.LeakyReLU: curves.leaky,
    nn.Sigmoid: lambda layer, shape: curves.SIGMOID,
    nn.Tanh: lambda layer, shape: curves.TANH,
    nn.GELU: curves.gelu,
    nn.SiLU: lambda layer, shape: curves.SILU,
    nn.PReLU: curves.parametric,
    nn.SELU: lambda layer, shape: curves.SELU,
    nn.ELU: lambda layer, shape: curves.exponential(1.0, float(layer.alpha)),
    nn.Hardswish: lambda layer, shape: curves.HARDSWISH,
    nn.Hardsigmoid: lambda layer, shape: curves.HARDSIGMOID,
}
"""By kind of layer. Each rule takes a layer in eval mode and the shape of its input."""


def register(kind: type[nn.Module], rule: Rule) -> None:
    """Make a kind of layer known to the relaxations.

    Args:
        kind: the class; subclasses with a `forward` of their own are not meant.
        rule: returns for a layer and the shape of its input (without the batch) an `Affine` step or
            a `Curve`. Its execution must err by no more than that states.
    """
    make_readable(kind)
    RULES[kind] = rule


def rule_of_step(graph: Graph, part: Step) -> Affine | Bent:
    """Return what is known of a step.

    Raises:
        ValueError: nothing is; the step is named.
    """
    if part.layer is not None:
        kind = check_known(part.layer, f"{type(part.layer).__name__} ({part.name})")
        check_tensors(part.layer)
        if kind not in RULES:
            raise ValueError(_unknown(f"the layer {type(part.layer).__name__} ({part.name})"))
        assert part.shape is not None
        return RULES[kind](part.layer, part.shape)
    node = next(node for node in graph.nodes.nodes if node.name == part.name)
    return _operation(graph, part, node)


def _unknown(what: str) -> str:
    names = ", ".join(sorted(kind.__name__ for kind in RULES))
    return (
        f"no relaxation is known for {what}. Known: {names}; sums, differences, concatenation,"
        " slices, reshaping, constant factors, relu, abs and clamp between them. Give bounds for a"
        " layer of yours with certify.relaxation.register(Layer, rule), or certify the vote"
        " (--certificate smoothing)"
    )


def _operation(graph: Graph, step: Step, node: fx.Node) -> Affine | Bent:
    """Return what is known of an operation between layers: all but three are affine."""
    name = getattr(node.target, "__name__", node.target)
    if name == "relu":
        return curves.RELU
    if name in ("abs", "absolute"):
        return curves.ABSOLUTE
    if name in CLAMPS:
        low, high = _ends(node, CLAMPS[str(name)])
        return curves.clamped(low, high)
    if name == "pad":
        value = node.kwargs.get("value", node.args[3] if len(node.args) > 3 else 0.0)
        _check_pad("pad", float(value or 0.0))  # pyright: ignore[reportArgumentType]
    sources = list(dict.fromkeys(step.sources))
    shapes = [shape_of(graph, one) for one in sources]
    terms = step.bound.terms or 2 * (name == "pad")  # the constant around is rounded
    run = _Operation(graph, node, sources)
    return affine.rearranged(run, shapes, terms, mixes=name == "mean")


def _ends(node: fx.Node, names: tuple[str, ...]) -> tuple[float, float]:
    """Return between which numbers a clamp stays."""
    given = dict(zip(names, node.args[1:], strict=False)) | node.kwargs
    low, high = given.get("min"), given.get("max")
    if not all(one is None or isinstance(one, int | float) for one in (low, high)):
        raise ValueError(_unknown("a clamp between tensors"))
    return (
        -math.inf if low is None else float(low),  # pyright: ignore[reportArgumentType]
        math.inf if high is None else float(high),  # pyright: ignore[reportArgumentType]
    )


def shape_of(graph: Graph, name: str) -> Shape:
    """Return the shape of a flow, without the batch."""
    for step in graph.steps:
        if step.name == name:
            assert step.after is not None
            return step.after
    first = next(step for step in graph.steps if name in step.sources)
    assert first.shape is not None
    return first.shape


class _Operation:
    """Run one operation of a graph on other flows, for any number of rows.

    Args:
        graph: the net.
        node: the operation.
        sources: names of the flows, in the order in which they are given.
    """

    def __init__(self, graph: Graph, node: fx.Node, sources: list[str]) -> None:
        self.graph, self.node, self.sources = graph, node, sources
        self.flows = {graph.source, *(step.name for step in graph.steps)}

    def __call__(self, *flows: Tensor) -> Tensor:
        """Return what comes out, in float64."""
        known: dict[str, Any] = dict(zip(self.sources, flows, strict=True))
        if getattr(self.node.target, "__name__", "") in IN_PLACE:
            known = {name: flow.clone() for name, flow in known.items()}
        return self._called(self.node, lambda one: self._operand(one, known, len(flows[0])))

    def _operand(self, node: fx.Node, known: dict[str, Any], rows: int) -> Any:
        """Return a flow that is given, or a constant: computed as the net does, then widened."""
        if node.name in known:
            return known[node.name]
        value = self._constant(node, rows)
        real = isinstance(value, Tensor) and value.is_floating_point()
        return value.detach().double() if real else value

    def _constant(self, node: fx.Node, rows: int) -> Any:
        """Return a value that depends on no flow, but for the size of one."""
        if node.name in self.flows:
            return torch.empty(rows, *shape_of(self.graph, node.name), device="meta")
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self.graph.module)
        return self._called(node, lambda one: self._constant(one, rows))

    @staticmethod
    def _called(node: fx.Node, value: Callable[[fx.Node], Any]) -> Any:
        """Run the function or method of a node on the values of its arguments."""
        given: Any = (node.args, node.kwargs)
        args, kwargs = map_arg(given, value)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)
