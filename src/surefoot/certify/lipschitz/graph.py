"""A net as a graph of steps with known Lipschitz constants, read from its code by torch.fx.

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
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from surefoot.certify.lipschitz.functional_layers import FORMS, layer_of
from surefoot.certify.lipschitz.kinds import TENSORS, remember, replaced
from surefoot.certify.lipschitz.layer_bounds import (
    Bound,
    Shape,
    check_known,
    computes_like,
    first_line,
    inverse,
    kind_of,
    rule_of,
    unknown,
)
from surefoot.models.frozen import device_of, dtype_of
from surefoot.models.lipschitz.one_lipschitz import Scale

BATCHES = (3, 1)
"""Images in the passes that find shapes: the first axis must stay this long at every step, and
nothing else may depend on it."""
Join = Literal["chain", "sum", "stack"]
SIZES = ("shape", "ndim", "dtype", "device")
NARROW = ("dim", "start", "length")
CLAMPS = {
    **dict.fromkeys(("clamp", "clip"), ("min", "max")),
    "clamp_min": ("min",),
    "clamp_max": ("max",),
}
"""Operations that keep numbers between two ends, and which of them they take."""
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
        after: shape of what comes out, without the batch; None if it was not found out.
    """

    name: str
    sources: tuple[str, ...]
    join: Join
    layer: nn.Module | None
    bound: Bound
    shape: Shape | None
    alike: bool
    after: Shape | None


class Graph(NamedTuple):
    """A net, its code, its steps in order, the nodes of input and output, the logits if counted."""

    module: nn.Module
    nodes: fx.Graph
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
    for key in dict.fromkeys((ROOMS, *(kind_of(part) for part in model.modules()))):
        if why := replaced(key):
            raise ValueError(f"no Lipschitz bound is known for the net: {why}")
    _check_modes()
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
    root = tracer.root
    if shape is None:
        graph, *others = [_graph(root, nodes, {})]
    else:
        shapes = [(rows, *shape) for rows in BATCHES]
        graph, *others = [_graph(root, nodes, _values(root, nodes, one, model)) for one in shapes]
    for other in others:
        for one, two in zip(graph.steps, other.steps, strict=True):
            if one != two:
                raise ValueError(
                    f"the step {one.name} does something else for {BATCHES[0]} images than for one:"
                    " a certificate needs a net that treats each image as if it were alone"
                )
    return graph


def _check_modes() -> None:
    """Raise inside a mode that may change what functions of torch compute."""
    modes = [*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()]
    for mode in modes:
        if not isinstance(mode, DeviceContext):
            raise ValueError(
                f"a {type(mode).__name__} is active, which may change what torch computes: certify"
                " outside of its `with` block"
            )


def _graph(root: nn.Module, nodes: fx.Graph, values: dict[str, Any]) -> Graph:
    """Read each node, with the values of one pass if there was one."""
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
            step = _step(root, node, flows, values)
            if step is not None:
                steps.append(step)
                flows.add(node.name)
    classes = None if not values else values[result].flatten(1).shape[1]
    return Graph(root, nodes, steps, source, result, classes)


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
        """Return whether the inside of a module stays closed."""
        if isinstance(m, nn.Sequential):
            return False
        kind = kind_of(m)
        if kind is None:
            return type(m).__module__.startswith("torch.nn")
        # A forward of its own is read; anything else that makes it another layer is an error.
        return rule_of(m) is not None or type(m).forward is kind.forward

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

    def kept(self, images: Tensor) -> dict[str, Any]:
        """Return the value of each node, by name."""
        self.extra_traceback = False
        self.run(images)
        return {node.name: value for node, value in self.env.items()}


def _values(root: nn.Module, nodes: fx.Graph, shape: Shape, model: nn.Module) -> dict[str, Any]:
    images = torch.full(shape, 0.5, dtype=dtype_of(model), device=device_of(model))
    with torch.no_grad():
        try:
            return _Values(root, garbage_collect_values=False, graph=nodes).kept(images)
        except Exception as error:  # whatever the code of the net raises
            raise ValueError(
                f"the net does not take {shape[0]} image(s) of shape {shape[1:]} at once:"
                f" {first_line(error)}. A certificate needs a net that takes any number of them,"
                " and one alone"
            ) from error


def _result(node: fx.Node, flows: set[str]) -> str:
    found = node.args[0]
    if not isinstance(found, fx.Node) or found.name not in flows:
        raise ValueError("the net must return one tensor of logits that depends on the images")
    return found.name


def _step(module: nn.Module, node: fx.Node, flows: set[str], values: dict[str, Any]) -> Step | None:
    """Read one node; None for constants and sizes, which carry no flow."""
    sources = [one.name for one in node.all_input_nodes if one.name in flows]
    name = _name(node)
    if not sources or name == "size" or (name == "getattr" and node.args[1] in SIZES):
        return None
    told = f"{name}{_place(node)}"
    if any(_made_of_sizes(one, name, flows, values) for one in node.all_input_nodes):
        raise ValueError(unknown(f"the operation {told} with a value made from the images' size"))
    if values:
        _check_rows(told, values[node.name], len(values[sources[0]]))
    shape = tuple(values[sources[0]].shape[1:]) if values else None
    after = tuple(values[node.name].shape[1:]) if values else None
    if node.op == "call_module":
        layer = module.get_submodule(name)
        _check_layer(node, name, layer)
        if getattr(layer, "inplace", False):
            _check_alone(node, type(layer).__name__, values)
        alike = any(computes_like(layer, kind) for kind in (Scale, nn.Identity))
        return Step(node.name, tuple(sources), "chain", layer, Bound(1.0), shape, alike, after)
    if name in FORMS:
        sources = (_Call(node, name, flows, values).source,)
        layer = layer_of(node, name)
        return Step(node.name, sources, "chain", layer, Bound(1.0), shape, False, after)
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(unknown(f"the operation {told}"))
    if not values and reader not in (_moved, _widened):
        raise ValueError(
            f"the operation {name} needs shapes: give `shape=(planes, height, width)` of an image"
        )
    read = reader(_Call(node, name, flows, values))
    if set(read.sources) != set(sources):
        raise ValueError(unknown(f"the operation {name} with a flow as an option"))
    return Step(node.name, read.sources, read.join, None, read.bound, shape, read.alike, after)


def _place(node: fx.Node) -> str:
    """Return inside which layer a node is."""
    inside = list(node.meta.get("nn_module_stack", {}).values())[1:]
    return f" (in {inside[-1][1].__name__}, {inside[-1][0]})" if inside else ""


def _name(node: fx.Node) -> str:
    """Return the name of what a node does; "?" for a function that is not of torch or Python."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", "?")
    return name if any(getattr(room, name, None) is node.target for room in ROOMS) else "?"


def _check_layer(node: fx.Node, name: str, layer: nn.Module) -> None:
    """Refuse a layer without a rule, or with more than one argument."""
    check_known(layer, f"{type(layer).__name__} ({name})")
    if len(node.args) != 1 or node.kwargs:
        raise ValueError(unknown(f"{type(layer).__name__} of several arguments"))


def _check_alone(node: fx.Node, what: str, values: dict[str, Any]) -> None:
    """Refuse to overwrite what something else may read: a view shares the memory of its source."""
    overwritten = node.args[0]
    before = takewhile(lambda one: one is not node, node.graph.nodes)
    same = [
        one
        for one in before
        if _owner(one) is _owner(overwritten) or _shares(one, overwritten, values)
    ]
    if any(len(one.users) > 1 or one.op in ("placeholder", "get_attr") for one in same):
        raise ValueError(
            f"{what} in place overwrites the images, a constant, or a value that is used again: set"
            " inplace=False, or write `a = a + b` for `a += b`"
        )


def _owner(node: Any) -> Any:
    """Follow a node to where its memory may come from: whether a view copies hangs on strides."""
    while isinstance(node, fx.Node) and node.op != "placeholder":
        if _READERS.get(_name(node)) not in ALIASING:
            break
        node = node.args[0] if node.args else None
    return node


def _shares(one: fx.Node, other: Any, values: dict[str, Any]) -> bool:
    """Return whether two nodes hold the same memory; without values: whether one leads there."""
    if not isinstance(other, fx.Node):
        return False
    if not values:
        return one.name in _ancestors(other)
    both = values.get(one.name), values.get(other.name)
    places = [
        value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None for value in both
    ]
    return places[0] is not None and places[0] == places[1]


def _made_of_sizes(node: fx.Node, name: str, flows: set[str], values: dict[str, Any]) -> bool:
    """Return if a value is no flow and no constant either; sizes may only say how to reshape."""
    if node.name in flows or not _ancestors(node) & flows:
        return False
    return name not in ("view", "reshape", "flatten") or isinstance(values.get(node.name), Tensor)


def _ancestors(node: fx.Node) -> set[str]:
    found, left = set(), [node]
    while left:
        one = left.pop()
        if one.name not in found:
            found.add(one.name)
            left += one.all_input_nodes
    return found


def _check_rows(name: str, value: Any, rows: int) -> None:
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != rows:
        raise ValueError(unknown(f"the operation {name}, which does not keep one row an image,"))
    if not value.is_floating_point():
        raise ValueError(unknown(f"the operation {name}, which does not give real numbers,"))
    if type(value) is not Tensor:
        raise ValueError(unknown(f"the operation {name}, which gives a {type(value).__name__},"))


class _Call(NamedTuple):
    """A function or method call: its node, name, the flows, and the values of all nodes."""

    node: fx.Node
    name: str
    flows: set[str]
    values: dict[str, Any]

    @property
    def operands(self) -> tuple[Any, Any]:
        """Return the two operands of arithmetic, as they stand in the graph."""
        self.limit(2, "other")
        both = (*self.node.args, *self.node.kwargs.values())
        if len(both) != 2:
            raise self.refused("of more or fewer than two operands")
        return both[0], both[1]

    def limit(self, places: int, *names: str) -> None:
        """Raise for arguments that are not understood: a factor, a rounding mode, a type, `out`."""
        for name in set(self.node.kwargs) - set(names):
            raise self.refused(f"with `{name}`")
        if len(self.node.args) > places:
            raise self.refused(f"with more than {places} arguments")

    @property
    def source(self) -> str:
        """Return the one flow that is changed: the first argument."""
        flows = [one for one in self.node.args if isinstance(one, fx.Node) and self.flowing(one)]
        if len(flows) != 1 or flows[0] is not self.node.args[0]:
            raise self.refused("of several flows")
        return flows[0].name

    def flowing(self, argument: Any) -> bool:
        """Return whether an argument depends on the images."""
        return isinstance(argument, fx.Node) and argument.name in self.flows

    def constant(self, argument: Any) -> Any:
        """Return the value of an operand; a plain tensor or a number."""
        value = self.value(argument)
        if isinstance(value, Tensor) and type(value) not in TENSORS:
            raise self.refused(f"with a {type(value).__name__}")
        return value

    def value(self, argument: Any) -> Any:
        """Return the value of an argument: of a node, or the argument itself."""
        return self.values[argument.name] if isinstance(argument, fx.Node) else argument

    def option(self, place: int, name: str, default: Any) -> Any:
        """Return an argument by place or name."""
        if name in self.node.kwargs:
            return self.value(self.node.kwargs[name])
        return self.value(self.node.args[place]) if len(self.node.args) > place else default

    def refused(self, why: str) -> ValueError:
        """Describe that this use has no bound."""
        return ValueError(unknown(f"the operation {self.name} {why}"))


class _Read(NamedTuple):
    """What a reader makes of a call; a flow that enters twice is twice among the sources."""

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
    given = (*call.node.args[1:], *call.node.kwargs.values())
    if not all(_whole_numbers(call, one) for one in given):
        raise call.refused("with anything but whole numbers, such as another type")
    return _Read("chain", Bound(1.0), (call.source,))


def _whole_numbers(call: _Call, value: Any) -> bool:
    if isinstance(value, fx.Node):
        if not call.values:
            return True
        value = call.value(value)
    if isinstance(value, tuple | list):
        return all(_whole_numbers(call, one) for one in value)
    relaid = isinstance(value, torch.memory_format) and call.name == "contiguous"
    return type(value) is int or relaid


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
    call.limit(3, *(("inplace",) if call.name == "relu" else ("min", "max")))
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
        raise call.refused("of two flows, whose Lipschitz constant has no bound")
    if "div" in call.name and not call.flowing(first):
        raise call.refused("by a flow, whose Lipschitz constant has no bound")
    if call.name.startswith("i"):
        _check_alone(call.node, "multiplication", call.values)
    flow, other = (first, second) if call.flowing(first) else (second, first)
    if call.values[flow.name].shape != call.values[call.node.name].shape:
        raise call.refused("that repeats the flow")
    constant = torch.as_tensor(call.constant(other), dtype=torch.float64).abs()
    constant = inverse(constant, "the constant") if "div" in call.name else constant
    largest = constant.amax().item() * (1 + 1e-15)
    return _Read(
        "chain", Bound(largest, gain=largest, terms=3), (flow.name,), constant.numel() == 1
    )


def _widened(call: _Call) -> _Read:
    """Turn to double precision, which is exact."""
    call.limit(1)
    return _Read("chain", Bound(1.0), (call.source,), alike=True)


def _negated(call: _Call) -> _Read:
    call.limit(1)
    return _Read("chain", Bound(1.0), (call.source,))


def _stacked(call: _Call) -> _Read:
    """Concatenate features: flows side by side."""
    call.limit(2, "dim")
    parts = call.node.args[0]
    if not isinstance(parts, tuple | list) or call.option(1, "dim", 0) == 0:
        raise call.refused("along the batch")
    nodes = [one for one in parts if isinstance(one, fx.Node)]
    return _Read("stack", Bound(1.0), tuple(one.name for one in nodes if call.flowing(one)))


def _sliced(call: _Call) -> _Read:
    """Drop features: slices of all axes but that of the batch."""
    index = call.node.args[1]
    index = index if isinstance(index, tuple) else (index,)
    plain = all(one is Ellipsis or type(one) in (int, slice) for one in index)
    if index[0] != slice(None) or not plain:
        raise call.refused("with an index that is no slice, or that takes rows of the batch")
    return _Read("chain", Bound(1.0), (call.source,))


def _narrowed(call: _Call) -> _Read:
    """Drop features: so many places of one axis, not that of the batch."""
    call.limit(4, "dim", "start", "length")
    places = [call.option(place + 1, name, None) for place, name in enumerate(NARROW)]
    rank = call.values[call.source].ndim
    if not all(type(one) is int for one in places) or places[0] % rank == 0:
        raise call.refused("with anything but whole numbers, or along the batch")
    return _Read("chain", Bound(1.0), (call.source,))


def _padded(call: _Call) -> _Read:
    call.limit(4, "pad", "mode", "value")
    if call.option(2, "mode", "constant") != "constant":
        raise call.refused("with a mode other than constant")
    if len(call.option(1, "pad", ())) >= 2 * call.values[call.source].ndim:
        raise call.refused("along the batch")
    return _Read("chain", Bound(1.0), (call.source,))


def _mean(call: _Call) -> _Read:
    r"""Average n features: Lipschitz constant $n^{-1/2}$."""
    call.limit(3, "dim", "keepdim")
    before = call.values[call.source]
    axes = call.option(1, "dim", None)
    if axes is None or any(axis % before.ndim == 0 for axis in _axes(axes)):
        raise call.refused("over the batch")
    many = math.prod(before.shape[axis] for axis in _axes(axes))
    lipschitz = many**-0.5 * (1 + 1e-15)
    return _Read(
        "chain", Bound(lipschitz, gain=lipschitz, terms=many + 1, peak=float(many)), (call.source,)
    )


_READERS: dict[str, Callable[[_Call], _Read]] = {
    **dict.fromkeys(("flatten", "view", "reshape", "permute", "transpose", "contiguous"), _moved),
    **dict.fromkeys(("squeeze", "unsqueeze"), _moved),
    **dict.fromkeys(("relu", "abs", "absolute", *CLAMPS), _activation),
    **dict.fromkeys(("add", "iadd", "sub", "isub"), _added),
    **dict.fromkeys(("mul", "imul", "truediv", "itruediv", "div"), _scaled),
    "double": _widened,
    "neg": _negated,
    "cat": _stacked,
    "getitem": _sliced,
    "narrow": _narrowed,
    "pad": _padded,
    "mean": _mean,
}
"""Functions and methods by name: operators, torch and tensor methods share them."""
ALIASING = (_moved, _sliced, _narrowed, _widened)
_DUNDERS = {f"__{'r' * turned}{name}__" for name in _READERS for turned in (0, 1)}
remember(ROOMS, frozenset(_DUNDERS.union(_READERS, FORMS)), (*ROOMS, *Tensor.__mro__[:-1]))
