"""A net as a graph of steps with known slopes, read from its code by torch.fx.

Layers of a known kind are leaves; everything between them is traced, so hooks and forwards of
containers are seen as what they compute. Whatever is not known to be Lipschitz is an error.
"""

import builtins
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import jaxtyping
import torch
from torch import Tensor, fx, nn

from surefoot.certify.lipschitz.layers import Bound, Shape, computes_like, rule_of, unknown
from surefoot.models.lipschitz.layers import Scale

BATCH = 3
"""Images in the pass that finds shapes: the first axis must stay this long at every step."""
Join = Literal["chain", "sum", "stack"]
SIZES = ("shape", "ndim", "dtype", "device")
ROOMS = (torch, torch.nn.functional, operator, builtins)
"""A function is known as itself, found here by its name: one of the user's may be called relu."""


class Step(NamedTuple):
    """One step of a net.

    Args:
        name: of its node.
        sources: nodes that flow in.
        join: "chain": one source, changed by a layer; "sum": sources are added; "stack": they stand
            side by side.
        layer: the layer, if it is one.
        bound: what is known if it is none.
        shape: of the first source, without the batch; None if it was not found out.
        alike: whether all features are scaled by one factor, and shifted at most.
    """

    name: str
    sources: tuple[str, ...]
    join: Join
    layer: nn.Module | None
    bound: Bound
    shape: Shape | None
    alike: bool


class Graph(NamedTuple):
    """A net, its steps in order, the nodes of input and output, and the logits if counted."""

    module: fx.GraphModule
    steps: list[Step]
    source: str
    result: str
    classes: int | None


def trace(model: nn.Module, shape: Shape | None) -> Graph:
    """Read a net.

    Args:
        model: in eval mode.
        shape: of an image, without the batch. None for nets of layers in a row that do not need it.

    Raises:
        ValueError: code that depends on values, or a step without a known bound; it is named.
    """
    tracer = _Tracer()
    try:
        with _shapes_unchecked():
            nodes = tracer.trace(nn.Sequential(model))
    except Exception as error:  # fx lets through whatever the code of the net raises on proxies
        raise ValueError(
            f"the net cannot be read: {error}. A certificate needs a forward without branches on"
            " values: build it from layers, or register a bound for the part as a whole"
            " (certify.lipschitz.register)."
        ) from error
    module = fx.GraphModule(tracer.root, nodes)
    values = {} if shape is None else _values(module, shape, model)
    steps: list[Step] = []
    source = result = ""
    flows: set[str] = set()
    for node in nodes.nodes:
        if node.op == "placeholder":
            if source:
                raise ValueError("the net takes several inputs; a certificate needs one: images")
            source = node.name
            flows.add(node.name)
        elif node.op == "output":
            result = _result(node, flows)
        else:
            step = _step(module, node, flows, values)
            if step is not None:
                steps.append(step)
                flows.add(node.name)
    classes = None if not values else values[result].flatten(1).shape[1]
    return Graph(module, steps, source, result, classes)


def _in_place(change: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    def recorded(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", change, (self, other), {})

    return recorded


class _Proxy(fx.Proxy):
    """Record `a += b` as what it is: fx takes it for `a = a + b`, which leaves views of a alone."""

    __iadd__ = _in_place(operator.iadd)
    __isub__ = _in_place(operator.isub)
    __imul__ = _in_place(operator.imul)
    __itruediv__ = _in_place(operator.itruediv)


class _Tracer(fx.Tracer):
    """Layers with a rule are leaves; so are those of torch, where only the error is missing."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether the inside of a module stays closed."""
        if isinstance(m, nn.Sequential):
            return False
        known = rule_of(m)
        return known is not None or type(m).__module__.startswith("torch.nn")

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Stand in for a value."""
        return _Proxy(node, self)


@contextmanager
def _shapes_unchecked() -> Iterator[None]:
    """Switch off checks of array types, which what fx hands through a net would not pass."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


class _Values(fx.Interpreter):
    """Run the graph and keep every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    def kept(self, images: Tensor) -> dict[str, Any]:
        """Give the value of each node, by name."""
        self.run(images)
        return {node.name: value for node, value in self.env.items()}


def _values(module: fx.GraphModule, shape: Shape, model: nn.Module) -> dict[str, Any]:
    weight = next(iter(model.parameters()), torch.zeros(()))
    images = torch.full((BATCH, *shape), 0.5, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        try:
            return _Values(module).kept(images)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the net does not take images of shape {shape}: {error}") from error


def _result(node: fx.Node, flows: set[str]) -> str:
    found = node.args[0]
    if not isinstance(found, fx.Node) or found.name not in flows:
        raise ValueError("the net must return one tensor of logits that depends on the images")
    return found.name


def _step(
    module: fx.GraphModule, node: fx.Node, flows: set[str], values: dict[str, Any]
) -> Step | None:
    """Read one node; None for constants and sizes, which carry no flow."""
    sources = [one.name for one in node.all_input_nodes if one.name in flows]
    name = _name(node)
    if not sources or name == "size" or (name == "getattr" and node.args[1] in SIZES):
        return None
    if any(_made_of_sizes(one, flows, values) for one in node.all_input_nodes):
        raise ValueError(unknown(f"the operation {name} with a tensor made from the images' size"))
    if values:
        _check_rows(name, values[node.name])
    if "out" in node.kwargs:
        raise ValueError(unknown(f"the operation {name} with `out`"))
    shape = tuple(values[sources[0]].shape[1:]) if values else None
    if node.op == "call_module":
        layer = module.get_submodule(name)
        _check_layer(node, name, layer)
        if getattr(layer, "inplace", False):
            _check_alone(node, type(layer).__name__, values)
        alike = any(computes_like(layer, kind) for kind in (Scale, nn.Identity))
        return Step(node.name, tuple(sources), "chain", layer, Bound(1.0), shape, alike)
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(unknown(f"the operation {name}"))
    if not values and reader not in (_moved, _widened):
        raise ValueError(
            f"the operation {name} needs shapes: give `shape=(planes, height, width)` of an image"
        )
    read = reader(_Call(node, name, flows, values))
    if set(read.sources) != set(sources):
        raise ValueError(unknown(f"the operation {name} with a flow as an option"))
    return Step(node.name, read.sources, read.join, None, read.bound, shape, read.alike)


def _name(node: fx.Node) -> str:
    """Give the name of what a node does; "?" for a function that is not of torch or Python."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", "?")
    return name if any(getattr(room, name, None) is node.target for room in ROOMS) else "?"


def _check_layer(node: fx.Node, name: str, layer: nn.Module) -> None:
    """Refuse a layer without a rule, or with more than one argument."""
    if rule_of(layer) is None:
        raise ValueError(unknown(f"the layer {type(layer).__name__} ({name})"))
    if len(node.args) != 1 or node.kwargs:
        raise ValueError(unknown(f"{type(layer).__name__} of several arguments"))


def _check_alone(node: fx.Node, what: str, values: dict[str, Any]) -> None:
    """Refuse to overwrite what something else may read: a view shares the memory of its source."""
    overwritten = node.args[0]
    before = takewhile(lambda one: one is not node, node.graph.nodes)
    same = [one for one in before if one is overwritten or _shares(one, overwritten, values)]
    if any(len(one.users) > 1 or one.op in ("placeholder", "get_attr") for one in same):
        raise ValueError(
            f"{what} in place overwrites the images, a constant, or a value that is used again: set"
            " inplace=False, or write `a = a + b` for `a += b`"
        )


def _shares(one: fx.Node, other: Any, values: dict[str, Any]) -> bool:
    """Say whether two nodes hold the same memory; without values: whether one leads there."""
    if not isinstance(other, fx.Node):
        return False
    if not values:
        return one.name in _ancestors(other)
    both = values.get(one.name), values.get(other.name)
    places = [
        value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None for value in both
    ]
    return places[0] is not None and places[0] == places[1]


def _made_of_sizes(node: fx.Node, flows: set[str], values: dict[str, Any]) -> bool:
    """Say whether a tensor is no flow and no constant either: its form follows the images."""
    made = node.name not in flows and isinstance(values.get(node.name), Tensor)
    return made and bool(_ancestors(node) & flows)


def _ancestors(node: fx.Node) -> set[str]:
    found, left = set(), [node]
    while left:
        one = left.pop()
        if one.name not in found:
            found.add(one.name)
            left += one.all_input_nodes
    return found


def _check_rows(name: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != BATCH:
        raise ValueError(unknown(f"the operation {name}, which does not keep one row an image,"))
    if not value.is_floating_point():
        raise ValueError(unknown(f"the operation {name}, which does not give real numbers,"))


class _Call(NamedTuple):
    """A function or method call: its node, name, the flows, and the values of all nodes."""

    node: fx.Node
    name: str
    flows: set[str]
    values: dict[str, Any]

    @property
    def operands(self) -> tuple[Any, Any]:
        """Give the two operands of arithmetic, as they stand in the graph."""
        if set(self.node.kwargs) - {"other"}:
            raise self.refused("with a factor or a rounding mode")
        both = (*self.node.args, *self.node.kwargs.values())
        return both[0], both[1]

    @property
    def source(self) -> str:
        """Give the one flow that is changed: the first argument."""
        flows = [one for one in self.node.args if isinstance(one, fx.Node) and self.flowing(one)]
        if len(flows) != 1 or flows[0] is not self.node.args[0]:
            raise self.refused("of several flows")
        return flows[0].name

    def flowing(self, argument: Any) -> bool:
        """Say whether an argument depends on the images."""
        return isinstance(argument, fx.Node) and argument.name in self.flows

    def constant(self, argument: Any) -> Any:
        """Give the value of an operand that must not change with the images, nor their count."""
        if isinstance(argument, fx.Node) and _ancestors(argument) & self.flows:
            raise self.refused("with a number made from the images' size")
        return self.value(argument)

    def value(self, argument: Any) -> Any:
        """Give the value of an argument: of a node, or the argument itself."""
        return self.values[argument.name] if isinstance(argument, fx.Node) else argument

    def option(self, place: int, name: str, default: Any) -> Any:
        """Give an argument by place or name."""
        if name in self.node.kwargs:
            return self.value(self.node.kwargs[name])
        return self.value(self.node.args[place]) if len(self.node.args) > place else default

    def refused(self, why: str) -> ValueError:
        """Say that this use has no bound."""
        return ValueError(unknown(f"the operation {self.name} {why}"))


class _Read(NamedTuple):
    """What a reader makes of a call; a flow that enters twice stands twice among the sources."""

    join: Join
    bound: Bound
    sources: tuple[str, ...]
    alike: bool = False


def _moved(call: _Call) -> _Read:
    """Reshaping moves features, and must leave each image its own."""
    if call.name in ("permute", "transpose") and _moves_batch(call):
        raise call.refused("that moves the axis of the batch")
    if call.name == "flatten" and call.option(1, "start_dim", 0) != 1:
        raise call.refused("that takes in the axis of the batch: start_dim must be 1")
    return _Read("chain", Bound(1.0), (call.source,))


def _moves_batch(call: _Call) -> bool:
    places = (*call.node.args[1:], *call.node.kwargs.values())
    axes = [axis for one in places for axis in _axes(call.value(one))]
    if call.name == "permute":
        return axes[0] != 0
    rank = call.values[call.source].ndim if call.values else 0
    return not rank or not all(axis % rank for axis in axes)


def _axes(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)


def _activation(call: _Call) -> _Read:
    """Each feature moves by no more than its argument: ReLU, absolute value, clamp."""
    if call.name == "relu" and call.option(1, "inplace", False):
        raise call.refused("in place")
    if call.values[call.source].shape != call.values[call.node.name].shape:
        raise call.refused("that repeats the flow")
    return _Read("chain", Bound(1.0), (call.source,))


def _added(call: _Call) -> _Read:
    """Sums and differences of flows of one shape, or of a flow and a constant."""
    first, second = call.operands
    after = call.values[call.node.name]
    flows = tuple(one.name for one in (first, second) if call.flowing(one))
    if call.name.startswith("i"):
        _check_alone(call.node, "addition", call.values)
    if any(call.values[name].shape != after.shape for name in flows):
        raise call.refused("of different shapes, which repeats one of them")
    if len(flows) == 2:
        return _Read("sum", Bound(1.0, terms=1), flows)
    constant = call.constant(second if call.flowing(first) else first)
    return _Read("chain", Bound(1.0, offset=_size(constant, after), terms=2), flows, True)


def _size(constant: Any, like: Tensor) -> float:
    """Bound the norm of a constant, repeated to the shape of one image."""
    whole = torch.as_tensor(constant, dtype=torch.float64, device=like.device).expand_as(like)
    return torch.linalg.vector_norm(whole.flatten(1), dim=1).amax().item() * (1 + 1e-9)


def _scaled(call: _Call) -> _Read:
    """Multiply or divide by a constant."""
    first, second = call.operands
    if call.flowing(first) and call.flowing(second):
        raise call.refused("of two flows, whose slope has no bound")
    if "div" in call.name and not call.flowing(first):
        raise call.refused("by a flow, whose slope has no bound")
    if call.name.startswith("i"):
        _check_alone(call.node, "multiplication", call.values)
    flow, other = (first, second) if call.flowing(first) else (second, first)
    if call.values[flow.name].shape != call.values[call.node.name].shape:
        raise call.refused("that repeats the flow")
    constant = torch.as_tensor(call.constant(other), dtype=torch.float64).abs()
    constant = 1 / constant if "div" in call.name else constant
    largest = constant.amax().item() * (1 + 1e-15)
    return _Read(
        "chain", Bound(largest, gain=largest, terms=3), (flow.name,), constant.numel() == 1
    )


def _widened(call: _Call) -> _Read:
    """Turn to double precision, which is exact."""
    return _Read("chain", Bound(1.0), (call.source,), alike=True)


def _negated(call: _Call) -> _Read:
    return _Read("chain", Bound(1.0), (call.source,))


def _stacked(call: _Call) -> _Read:
    """Concatenate features: flows side by side."""
    parts = call.node.args[0]
    if not isinstance(parts, tuple | list) or call.option(1, "dim", 0) == 0:
        raise call.refused("along the batch")
    nodes = [one for one in parts if isinstance(one, fx.Node)]
    return _Read("stack", Bound(1.0), tuple(one.name for one in nodes if call.flowing(one)))


def _sliced(call: _Call) -> _Read:
    """Drop features: slices of all axes but that of the batch."""
    index = call.node.args[1]
    index = index if isinstance(index, tuple) else (index,)
    plain = all(one is Ellipsis or isinstance(one, int | slice) for one in index)
    if index[0] != slice(None) or not plain:
        raise call.refused("with an index that is no slice, or that takes rows of the batch")
    return _Read("chain", Bound(1.0), (call.source,))


def _padded(call: _Call) -> _Read:
    if call.option(2, "mode", "constant") != "constant":
        raise call.refused("with a mode other than constant")
    if len(call.option(1, "pad", ())) >= 2 * call.values[call.source].ndim:
        raise call.refused("along the batch")
    return _Read("chain", Bound(1.0), (call.source,))


def _mean(call: _Call) -> _Read:
    r"""Average n features: slope $n^{-1/2}$."""
    before = call.values[call.source]
    axes = call.option(1, "dim", None)
    if axes is None or any(axis % before.ndim == 0 for axis in _axes(axes)):
        raise call.refused("over the batch")
    many = math.prod(before.shape[axis] for axis in _axes(axes))
    slope = many**-0.5 * (1 + 1e-15)
    return _Read("chain", Bound(slope, gain=slope, terms=many + 1), (call.source,))


_READERS: dict[str, Callable[[_Call], _Read]] = {
    **dict.fromkeys(("flatten", "view", "reshape", "permute", "transpose", "contiguous"), _moved),
    **dict.fromkeys(("relu", "abs", "absolute", "clamp"), _activation),
    **dict.fromkeys(("add", "iadd", "sub", "isub"), _added),
    **dict.fromkeys(("mul", "imul", "truediv", "itruediv", "div"), _scaled),
    "double": _widened,
    "neg": _negated,
    "cat": _stacked,
    "getitem": _sliced,
    "pad": _padded,
    "mean": _mean,
}
"""Functions and methods by name: operators, torch and tensor methods share them."""
