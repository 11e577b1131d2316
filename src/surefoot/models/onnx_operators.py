"""The operators of ONNX as layers and functions of torch, recorded into a graph.

One function an operator, in `OPERATORS`; a form that would be another function is an error that
names it. What depends on constants alone is computed at once.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer
from torch.nn import functional

if TYPE_CHECKING:
    pass

BATCH = 1009
"""Stands for the batch while shapes are worked out: a prime that divides no other size."""
PROBABILITY_TAILS = ("Softmax", "LogSoftmax")
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Traced(NamedTuple):
    """A value that depends on the input.

    Args:
        proxy: records what is done with it.
        shape: a tensor of its shape and type without numbers, on the device "meta".
    """

    proxy: fx.Proxy
    shape: Tensor


Value = Traced | Tensor
"""A value of the graph: traced, or a constant."""


class Node(NamedTuple):
    """An operator of the file: kind, name, attributes, inputs (None where left out)."""

    kind: str
    name: str
    attributes: dict[str, Any]
    inputs: list[Value | None]
    outputs: int
    names: tuple[str, ...] = ()

    def constant(self, place: int, default: Any = None) -> Any:
        """Return an input that must be a constant, as a list of numbers or a number."""
        value = self.inputs[place] if place < len(self.inputs) else None
        if value is None:
            return default
        if isinstance(value, Traced):
            raise ValueError(
                f"{self.kind} {self.name!r}: input {place} depends on the image; only a constant is"
                " read there"
            )
        return value.tolist()

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def require(self, good: bool, what: str) -> None:
        """Raise unless a form of the operator is one that is read."""
        if not good:
            raise ValueError(f"{self.kind} {self.name!r}: {what} is not read")


class Builder:
    """Records layers and functions into a graph."""

    def __init__(self) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()
        self.uses: Counter[str] = Counter()  # how often each value of the file is read
        self.opset, self.batch = 0, 0  # the batch that the file was exported with; 0: any
        self.tracer = GraphAppendingTracer(self.graph)

    def start(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Traced:
        """Add the input."""
        node = self.graph.placeholder("images")
        return Traced(fx.Proxy(node, self.tracer), torch.empty(shape, dtype=dtype, device="meta"))

    def layer(self, module: nn.Module, value: Traced) -> Traced:
        """Add a layer."""
        name = f"layer{len(list(self.root.children()))}"
        self.root.add_module(name, module)
        proxy = self.tracer.create_proxy("call_module", name, (value.proxy,), {})
        with torch.no_grad():
            shape = copy.deepcopy(module).to("meta").eval()(value.shape)
        return Traced(proxy, shape)

    def call(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Value:
        """Apply a function: at once to constants, recorded where a value is traced."""
        if not any(isinstance(one, Traced) for one in _flat(arguments)):
            return function(*arguments, **settings)
        for one in _flat(arguments):
            if isinstance(one, Tensor) and _knows_batch(one):
                raise ValueError(
                    "a number or a constant made from the size of the batch is not read"
                )
        shapes = _mapped(arguments, lambda one: one.shape, lambda one: one.to("meta"))
        proxies = _mapped(arguments, lambda one: one.proxy, self._kept)
        recorded = self.tracer.create_proxy("call_function", function, tuple(proxies), settings)
        return Traced(recorded, function(*shapes, **settings))

    def _kept(self, constant: Tensor) -> fx.Proxy:
        """Keep a constant as a buffer of the module."""
        name = f"constant{len(list(self.root.buffers(recurse=False)))}"
        self.root.register_buffer(name, constant)
        return self.tracer.create_proxy("get_attr", name, (), {})

    def finish(self, value: Traced) -> fx.GraphModule:
        """Return the module."""
        self.graph.output(value.proxy.node)
        return fx.GraphModule(self.root, self.graph).eval()


def _flat(values: Any) -> list[Any]:
    if isinstance(values, list | tuple) and not isinstance(values, Traced):
        return [one for value in values for one in _flat(value)]
    return [values]


def _mapped(values: Any, traced: Callable[[Traced], Any], constant: Callable[[Tensor], Any]) -> Any:
    if isinstance(values, Traced):
        return traced(values)
    if isinstance(values, Tensor):
        return constant(values)
    if isinstance(values, list | tuple):
        return [_mapped(value, traced, constant) for value in values]
    return values


def _knows_batch(constant: Tensor) -> bool:
    """Return whether a constant holds the size of the batch, or has it."""
    if any(size and size % BATCH == 0 for size in constant.shape):
        return True
    return constant.numel() == 1 and constant.item() != 0 and constant.item() % BATCH == 0


def _dtype(value: Value) -> torch.dtype:
    return value.shape.dtype if isinstance(value, Traced) else value.dtype


def _rank(value: Value) -> int:
    return value.shape.ndim if isinstance(value, Traced) else value.ndim


def sizes_of(value: Value) -> list[int]:
    """Return the shape of a value, `BATCH` where it grows with the batch."""
    return list(value.shape.shape if isinstance(value, Traced) else value.shape)


def _is_batch(value: Value, axis: int) -> bool:
    """Return whether a dimension grows with the batch."""
    return isinstance(value, Traced) and sizes_of(value)[axis] % BATCH == 0


def _traced(node: Node, place: int = 0) -> Traced:
    value = node.inputs[place]
    if not isinstance(value, Traced):
        raise ValueError(f"{node.kind} {node.name!r}: input {place} does not depend on the image")
    return value


def _weight(node: Node, place: int) -> Tensor | None:
    value = node.inputs[place] if place < len(node.inputs) else None
    if isinstance(value, Traced):
        raise ValueError(
            f"{node.kind} {node.name!r}: weights that depend on the image are not read"
        )
    return value


def _loaded(layer: nn.Module, **weights: Tensor | None) -> nn.Module:
    """Put constants in the place of the weights of a layer."""
    for name, value in weights.items():
        if value is None:
            continue
        kept = value.clone()
        if name in layer._parameters:
            setattr(layer, name, nn.Parameter(kept))
        else:
            layer.register_buffer(name, kept)
    return layer


def _dense(build: Builder, value: Traced, weight: Tensor, bias: Tensor | None) -> Value:
    """Apply a dense layer with weight `[outputs, inputs]`."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return build.layer(_loaded(layer, weight=weight, bias=bias), value)


def _gemm(build: Builder, node: Node) -> Value:
    first, second = node.inputs[0], node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if isinstance(first, Traced) and isinstance(second, Tensor) and not node.get("transA", 0):
        weight = second if node.get("transB", 0) else second.T
        scale = node.get("alpha", 1.0)
        if isinstance(bias, Tensor):
            bias = (bias * node.get("beta", 1.0)).expand(len(weight)).contiguous()
        if not isinstance(bias, Traced):
            return _dense(build, first, (weight * scale).contiguous(), bias)
    raise ValueError(f"Gemm {node.name!r}: only images times constants plus a constant is read")


def _matmul(build: Builder, node: Node) -> Value:
    first, second = node.inputs[0], node.inputs[1]
    if isinstance(first, Traced) and isinstance(second, Tensor) and second.ndim == 2:
        return _dense(build, first, second.T.contiguous(), None)
    return build.call(torch.matmul, first, second)


def _ends(node: Node, dimensions: int, value: Traced, kernel: Sequence[int]) -> list[int]:
    """Return the padding in front of and behind each spatial dimension, first ends first."""
    automatic = node.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", "VALID"):
        given = node.get("pads") if automatic == "NOTSET" else None
        return list(given or [0] * (2 * dimensions))
    strides = node.get("strides", [1] * dimensions)
    spread = node.get("dilations", [1] * dimensions)
    node.require(set(spread) == {1}, "automatic padding with dilation")
    front, back = [], []
    for size, step, width, gap in zip(value.shape.shape[2:], strides, kernel, spread, strict=True):
        whole = max((math.ceil(size / step) - 1) * step + gap * (width - 1) + 1 - size, 0)
        small = whole // 2
        front.append(small if automatic == "SAME_UPPER" else whole - small)
        back.append(whole - small if automatic == "SAME_UPPER" else small)
    return front + back


def _pairs(ends: Sequence[int]) -> list[int]:
    """Return padding as torch takes it: both ends of each dimension, the last one first."""
    count = len(ends) // 2
    return [ends[place + side * count] for place in reversed(range(count)) for side in (0, 1)]


def _padded(build: Builder, value: Traced, ends: Sequence[int], fill: float) -> Traced:
    """Pad the spatial dimensions."""
    count, pairs = len(ends) // 2, _pairs(ends)
    if count <= 3 and fill == 0 and any(pairs) and min(pairs) >= 0:
        kinds = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
        return build.layer(kinds[count](tuple(pairs), 0.0), value)
    padded = build.call(functional.pad, value, pairs, value=fill) if any(pairs) else value
    assert isinstance(padded, Traced)
    return padded


def _convolution(build: Builder, node: Node) -> Value:
    value, weight = _traced(node), _weight(node, 1)
    assert weight is not None
    count = weight.ndim - 2
    ends = _ends(node, count, value, weight.shape[2:])
    even = ends[:count] == ends[count:]
    if not even:
        value = _padded(build, value, ends, 0.0)
    groups = node.get("group", 1)
    bias = _weight(node, 2)
    with torch.device("meta"):
        layer = CONVOLUTIONS[count](
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),
            stride=tuple(node.get("strides", [1] * count)),
            padding=tuple(ends[:count]) if even else 0,
            dilation=tuple(node.get("dilations", [1] * count)),
            groups=groups,
            bias=bias is not None,
        )
    return build.layer(_loaded(layer, weight=weight, bias=bias), value)


def _transposed_convolution(build: Builder, node: Node) -> Value:
    value, weight = _traced(node), _weight(node, 1)
    assert weight is not None
    count = weight.ndim - 2
    ends = _ends(node, count, value, weight.shape[2:])
    given = node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not node.get("output_shape")
    node.require(given and ends[:count] == ends[count:], "uneven or automatic padding")
    groups, bias = node.get("group", 1), _weight(node, 2)
    with torch.device("meta"):
        layer = TRANSPOSED[count](
            weight.shape[0],
            weight.shape[1] * groups,
            tuple(weight.shape[2:]),
            stride=tuple(node.get("strides", [1] * count)),
            padding=tuple(ends[:count]),
            output_padding=tuple(node.get("output_padding", [0] * count)),
            groups=groups,
            bias=bias is not None,
            dilation=tuple(node.get("dilations", [1] * count)),
        )
    return build.layer(_loaded(layer, weight=weight, bias=bias), value)


def _batch_norm(build: Builder, node: Node) -> Value:
    value = _traced(node)
    node.require(node.get("training_mode", 0) == 0, "training mode")
    weight, bias, mean, variance = (_weight(node, place) for place in (1, 2, 3, 4))
    assert weight is not None
    layer = BATCH_NORMS[_rank(value)](len(weight), eps=node.get("epsilon", 1e-5))
    _loaded(layer, weight=weight, bias=bias, running_mean=mean, running_var=variance)
    return build.layer(layer, value)


def _layer_norm(build: Builder, node: Node) -> Value:
    value, weight, bias = _traced(node), _weight(node, 1), _weight(node, 2)
    axis = node.get("axis", -1) % _rank(value)
    node.require(axis > 0, "normalisation over the batch")
    shape = sizes_of(value)[axis:]
    layer = nn.LayerNorm(shape, eps=node.get("epsilon", 1e-5))
    ones = torch.ones(shape, dtype=_dtype(value))
    bias = torch.zeros_like(ones) if bias is None else bias
    weight = ones if weight is None else weight
    return build.layer(_loaded(layer, weight=weight.expand(shape), bias=bias.expand(shape)), value)


def _max_pool(build: Builder, node: Node) -> Value:
    value, kernel = _traced(node), node.get("kernel_shape")
    count = len(kernel)
    node.require(node.outputs == 1, "the second output, indices,")
    ends = _ends(node, count, value, kernel)
    small = all(2 * end <= width for end, width in zip(ends[:count], kernel, strict=True))
    ceil = bool(node.get("ceil_mode", 0))

    def pool(front: Sequence[int], ceil: bool) -> nn.Module:
        return MAX_POOLS[count](
            tuple(kernel),
            stride=tuple(node.get("strides", [1] * count)),
            padding=tuple(front),
            dilation=tuple(node.get("dilations", [1] * count)),
            ceil_mode=ceil,
        )

    if ends[:count] == ends[count:] and small:
        return build.layer(pool(ends[:count], ceil), value)
    node.require(not ceil, "ceil_mode with uneven padding")
    padded = functional.pad(value.shape, _pairs(ends))
    wanted = pool([0] * count, False)(padded).shape
    # Where it gives as many windows, padding in front alone gives the same ones, and bounds.
    for ceil in (False, True):
        if small and pool(ends[:count], ceil)(value.shape).shape == wanted:
            return build.layer(pool(ends[:count], ceil), value)
    return build.layer(pool([0] * count, False), _padded(build, value, ends, -math.inf))


def _mean_pool(build: Builder, node: Node) -> Value:
    value, kernel = _traced(node), node.get("kernel_shape")
    count = len(kernel)
    ends = _ends(node, count, value, kernel)
    counts_padding = bool(node.get("count_include_pad", 0))
    even = ends[:count] == ends[count:]
    node.require(even or counts_padding, "uneven padding that is not counted")
    node.require(set(node.get("dilations", [1])) == {1}, "dilation")
    if not even:
        value = _padded(build, value, ends, 0.0)
    layer = MEAN_POOLS[count](
        tuple(kernel),
        stride=tuple(node.get("strides", [1] * count)),
        padding=tuple(ends[:count]) if even else 0,
        ceil_mode=bool(node.get("ceil_mode", 0)),
        count_include_pad=counts_padding,
    )
    return build.layer(layer, value)


def _global_pool(mean: bool) -> Callable[[Builder, Node], Value]:
    kinds = {
        (3, True): nn.AdaptiveAvgPool1d,
        (4, True): nn.AdaptiveAvgPool2d,
        (5, True): nn.AdaptiveAvgPool3d,
        (3, False): nn.AdaptiveMaxPool1d,
        (4, False): nn.AdaptiveMaxPool2d,
        (5, False): nn.AdaptiveMaxPool3d,
    }

    def pool(build: Builder, node: Node) -> Value:
        value = _traced(node)
        return build.layer(kinds[_rank(value), mean](1), value)

    return pool


def _activation(make: Callable[[Node], nn.Module]) -> Callable[[Builder, Node], Value]:
    def apply(build: Builder, node: Node) -> Value:
        value = node.inputs[0]
        if isinstance(value, Traced):
            return build.layer(make(node), value)
        return make(node)(value)

    return apply


def _prelu(build: Builder, node: Node) -> Value:
    value, slope = _traced(node), _weight(node, 1)
    assert slope is not None
    channels = (slope.shape[0], *[1] * (_rank(value) - 2))
    if slope.numel() == 1 or tuple(slope.shape) == channels:
        return build.layer(_loaded(nn.PReLU(slope.numel()), weight=slope.flatten()), value)
    positive = build.call(torch.clamp, value, min=0.0)
    negative = build.call(torch.clamp, value, max=0.0)
    return build.call(torch.add, positive, build.call(torch.mul, negative, slope))


def _clip(build: Builder, node: Node) -> Value:
    low = node.constant(1, node.get("min", -math.inf))
    high = node.constant(2, node.get("max", math.inf))
    if low == 0 and high == 6:
        return build.layer(nn.ReLU6(), _traced(node))
    low, high = (None if math.isinf(end) else end for end in (low, high))
    return build.call(torch.clamp, node.inputs[0], min=low, max=high)


def _softmax(function: Callable[..., Tensor]) -> Callable[[Builder, Node], Value]:
    def apply(build: Builder, node: Node) -> Value:
        value = node.inputs[0]
        assert value is not None
        old = build.opset < 13  # then everything from the axis on is one dimension
        axis = node.get("axis", 1 if old else -1) % _rank(value)
        node.require(
            not old or axis == _rank(value) - 1, "an axis before the last, opset below 13,"
        )
        node.require(not _is_batch(value, axis), "an axis that is the batch")
        return build.call(function, value, dim=axis)

    return apply


def _binary(function: Callable[..., Tensor]) -> Callable[[Builder, Node], Value]:
    """Combine two values, with the broadcasting of numpy, which both share."""

    def apply(build: Builder, node: Node) -> Value:
        first, second = node.inputs[:2]
        return build.call(function, first, second)

    return apply


def _add(build: Builder, node: Node) -> Value:
    """Add; a constant behind a dense layer or a convolution without bias becomes its bias."""
    first, second = node.inputs[:2]
    if isinstance(first, Tensor) and isinstance(second, Traced):
        first, second = second, first
    if isinstance(first, Traced) and isinstance(second, Tensor):
        # Nobody else may read the product without its bias.
        alone = all(build.uses[name] == 1 for name in node.names)
        folded = _bias(build, first, second) if alone else None
        if folded is not None:
            return folded
    return build.call(torch.add, first, second)


def _bias(build: Builder, value: Traced, constant: Tensor) -> Traced | None:
    node = value.proxy.node
    layer = build.root.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(layer, nn.Linear) or layer.bias is not None or node.users:
        return None
    if constant.numel() != layer.out_features or constant.shape[-1:] != (layer.out_features,):
        return None
    layer.register_parameter("bias", nn.Parameter(constant.flatten().to(layer.weight.dtype)))
    return value


def _divided(first: Tensor, second: Tensor) -> Tensor:
    """Divide as ONNX does: integers round towards zero."""
    whole = not (first.is_floating_point() or second.is_floating_point())
    return torch.div(first, second, rounding_mode="trunc" if whole else None)


def _divide(build: Builder, node: Node) -> Value:
    first, second = node.inputs[:2]
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _divided(first, second)
    return build.call(torch.div, first, second)


def _unary(function: Callable[..., Tensor], **settings: Any) -> Callable[[Builder, Node], Value]:
    return lambda build, node: build.call(function, node.inputs[0], **settings)


def _several(function: Callable[..., Tensor]) -> Callable[[Builder, Node], Value]:
    """Combine any number of values, two at a time."""

    def apply(build: Builder, node: Node) -> Value:
        whole = node.inputs[0]
        for one in node.inputs[1:]:
            whole = build.call(function, whole, one)
        assert whole is not None
        return whole

    return apply


def _concat(build: Builder, node: Node) -> Value:
    axis, parts = node.get("axis", 0), [one for one in node.inputs if one is not None]
    node.require(not any(_is_batch(one, axis) for one in parts), "joining along the batch")
    return build.call(torch.cat, parts, dim=axis)


def _split(build: Builder, node: Node) -> list[Value]:
    value, axis = _traced(node), node.get("axis", 0)
    sizes = node.constant(1, node.get("split"))
    length = sizes_of(value)[axis]
    if sizes is None:
        part = math.ceil(length / node.get("num_outputs", node.outputs))
        sizes = [min(part, length - start) for start in range(0, length, part)]
    node.require(not _is_batch(value, axis), "splitting the batch")
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        build.call(torch.narrow, value, axis, start, size)
        for start, size in zip(starts, sizes, strict=True)
    ]


def _slice(build: Builder, node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    starts = node.constant(1, node.get("starts"))
    ends = node.constant(2, node.get("ends"))
    axes = node.constant(3, node.get("axes")) or list(range(len(starts)))
    steps = node.constant(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = sizes_of(value)[axis]
        places = list(range(length))[slice(start, _end(end, step), step)]
        if _is_batch(value, axis):
            node.require(places == list(range(length)), "a part of the batch, or another order,")
            continue
        if step == 1:
            first = places[0] if places else 0
            value = build.call(torch.narrow, value, axis, first, len(places))
        else:
            value = build.call(torch.index_select, value, axis, torch.tensor(places))
    return value


def _end(end: int, step: int) -> int | None:
    """Return the end of a slice; the smallest number going backwards means past the first place."""
    return None if step < 0 and end <= -(2**31) else end


def _reshape(build: Builder, node: Node) -> Value:
    value, wanted = node.inputs[0], node.constant(1, node.get("shape"))
    assert value is not None
    sizes = sizes_of(value)
    if not node.get("allowzero", 0):
        wanted = [sizes[place] if size == 0 else size for place, size in enumerate(wanted)]
    if not isinstance(value, Traced):
        return value.reshape(wanted)
    return _shaped(build, node, value, wanted)


def _shaped(build: Builder, node: Node, value: Traced, wanted: list[int]) -> Value:
    """Reshape, with the dimension of the batch left open."""
    total = math.prod(sizes_of(value))
    batches = [place for place, size in enumerate(wanted) if size > 0 and size % BATCH == 0]
    place = batches[0] if batches else 0  # without one, the file fixed the batch, in front
    shape = list(wanted)
    if not batches and shape[place] != -1:
        node.require(shape[place] == build.batch, f"a shape that mixes images, {wanted},")
        shape[place] = BATCH
    if -1 in shape:
        shape[shape.index(-1)] = total // abs(math.prod(shape))
    good = len(batches) < 2 and math.prod(shape) == total and shape[place] % BATCH == 0
    node.require(good, f"a shape that mixes images, {wanted}")
    if place == 0 and len(shape) == 2 and _is_batch(value, 0) and shape[0] == sizes_of(value)[0]:
        return build.layer(nn.Flatten(), value)
    return build.call(torch.reshape, value, [*shape[:place], -1, *shape[place + 1 :]])


def _flatten(build: Builder, node: Node) -> Value:
    value, axis = _traced(node), node.get("axis", 1) % _rank(_traced(node))
    if axis == 1:
        return build.layer(nn.Flatten(), value)
    rest = math.prod(sizes_of(value)[axis:])
    return _shaped(build, node, value, [-1, rest])


def _transpose(build: Builder, node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    order = node.get("perm", list(reversed(range(_rank(value)))))
    return build.call(torch.permute, value, list(order))


def _squeeze(build: Builder, node: Node) -> Value:
    value, axes = node.inputs[0], node.constant(1, node.get("axes"))
    assert value is not None
    sizes = sizes_of(value)
    if axes is None:
        axes = [place for place, size in enumerate(sizes) if size == 1]
    for axis in sorted((axis % len(sizes) for axis in axes), reverse=True):
        node.require(not _is_batch(value, axis), "removing the batch")
        value = build.call(torch.squeeze, value, axis)
    return value


def _unsqueeze(build: Builder, node: Node) -> Value:
    value, axes = node.inputs[0], node.constant(1, node.get("axes"))
    assert value is not None
    rank = _rank(value) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        value = build.call(torch.unsqueeze, value, axis)
    return value


def _pad(build: Builder, node: Node) -> Value:
    value, ends = _traced(node), node.constant(1, node.get("pads"))
    mode, fill = node.get("mode", "constant"), node.constant(2, node.get("value", 0.0))
    axes, rank = node.constant(3), _rank(value)
    if axes is not None:
        whole = [0] * (2 * rank)
        for place, axis in enumerate(axes):
            whole[axis % rank], whole[rank + axis % rank] = ends[place], ends[len(axes) + place]
        ends = whole
    node.require(ends[0] == ends[rank] == 0, "padding of the batch")
    if mode == "constant" and ends[1] == ends[rank + 1] == 0:
        return _padded(build, value, ends[2:rank] + ends[rank + 2 :], fill or 0.0)
    pairs = [ends[place + side * rank] for place in reversed(range(rank)) for side in (0, 1)]
    node.require(mode == "constant" or ends[1] == ends[rank + 1] == 0, "padding of planes")
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode == "constant":
        return build.call(functional.pad, value, pairs, value=fill or 0.0)
    return build.call(functional.pad, value, pairs[: 2 * (rank - 2)], mode=names[mode])


def _resize(build: Builder, node: Node) -> Value:
    value, rank = _traced(node), _rank(_traced(node))
    node.require(node.get("mode", "nearest") == "nearest", "interpolation other than nearest")
    at = 2 if node.kind == "Resize" and build.opset > 10 else 1
    scales = node.constant(at, node.get("scales")) or None
    sizes = node.constant(3) if node.kind == "Resize" else None
    old = sizes_of(value)
    if scales:
        sizes = [int(size * scale) for size, scale in zip(old, scales, strict=True)]
    assert sizes is not None
    node.require(list(sizes[1:2]) == old[1:2], "resizing of planes")
    form = node.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.get("nearest_mode", "round_prefer_floor")
    whole = all(new % size == 0 for new, size in zip(sizes[2:], old[2:], strict=True))
    plain = node.kind == "Upsample" or (form == "asymmetric" and rounding == "floor")
    nearest = form == "half_pixel" and rounding.startswith("round_prefer")
    node.require(whole and (plain or nearest), f"{form} with {rounding}, or a broken factor,")
    return build.call(functional.interpolate, value, size=list(sizes[2:rank]), mode="nearest")


def _gather(build: Builder, node: Node) -> Value:
    value, axis = node.inputs[0], node.get("axis", 0)
    assert value is not None
    places, length = node.constant(1), sizes_of(value)[axis]
    node.require(not _is_batch(value, axis), "a part of the batch")
    if isinstance(places, int):
        return build.call(torch.select, value, axis, places % length)
    index = torch.tensor(places) % length
    node.require(index.ndim == 1, "an index of several dimensions")
    return build.call(torch.index_select, value, axis, index)


def _reduce(function: Callable[..., Tensor]) -> Callable[[Builder, Node], Value]:
    def apply(build: Builder, node: Node) -> Value:
        value, axes = node.inputs[0], node.constant(1, node.get("axes"))
        assert value is not None
        if not axes and node.get("noop_with_empty_axes", 0):
            return value
        axes = list(axes) if axes else list(range(_rank(value)))
        node.require(not any(_is_batch(value, axis) for axis in axes), "a mean over the batch")
        return build.call(function, value, dim=axes, keepdim=bool(node.get("keepdims", 1)))

    return apply


def _shape(build: Builder, node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    return torch.tensor(sizes_of(value)[node.get("start", 0) : node.get("end")])


def _constant(build: Builder, node: Node) -> Value:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            found = node.attributes[name]
            return found if isinstance(found, Tensor) else torch.tensor(found)
    raise ValueError(f"Constant {node.name!r}: only numbers are read")


def _filled(build: Builder, node: Node) -> Value:
    fill = node.get("value", torch.zeros(1))
    return torch.full(node.constant(0), fill.item(), dtype=fill.dtype)


def _range(build: Builder, node: Node) -> Value:
    return torch.arange(node.constant(0), node.constant(1), node.constant(2))


def _expand(build: Builder, node: Node) -> Value:
    value, wanted = node.inputs[0], node.constant(1)
    assert value is not None
    if not isinstance(value, Traced):
        return value.expand(torch.broadcast_shapes(value.shape, wanted)).clone()
    # Sizes of 1 are widened; adding zeros does it, and leaves the batch open.
    zeros = [1 if size % BATCH == 0 else size for size in wanted]
    return build.call(torch.add, value, torch.zeros(zeros, dtype=_dtype(value)))


def _cast(build: Builder, node: Node) -> Value:
    value, wanted = node.inputs[0], dtypes()[node.get("to")]
    assert value is not None
    if _dtype(value) == wanted:
        return value
    if isinstance(value, Traced):
        node.require(wanted.is_floating_point and _dtype(value).is_floating_point, "a cast")
    return build.call(Tensor.to, value, wanted)


def same(build: Builder, node: Node) -> Value:
    """Return the first input as it is."""
    value = node.inputs[0]
    assert value is not None
    return value


def _dropout(build: Builder, node: Node) -> Value:
    node.require(not node.constant(2, False), "training mode")
    return same(build, node)


def _hard_sigmoid(build: Builder, node: Node) -> Value:
    scale, shift = node.get("alpha", 0.2), node.get("beta", 0.5)
    scaled = build.call(torch.mul, node.inputs[0], torch.tensor(scale))
    return build.call(
        torch.clamp, build.call(torch.add, scaled, torch.tensor(shift)), min=0.0, max=1.0
    )


def _selu(node: Node) -> nn.Module:
    usual = abs(node.get("alpha", 1.6732632) - 1.6732632) < 1e-5
    node.require(usual and abs(node.get("gamma", 1.0507010) - 1.0507010) < 1e-5, "another alpha")
    return nn.SELU()


def _gelu(node: Node) -> nn.Module:
    return nn.GELU(approximate=node.get("approximate", "none"))


def _where(build: Builder, node: Node) -> Value:
    return build.call(torch.where, *node.inputs)


OPERATORS: dict[str, Callable[[Builder, Node], Value | list[Value]]] = {
    "Abs": _unary(torch.abs),
    "Add": _add,
    "AveragePool": _mean_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _unary(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": _activation(lambda node: nn.ELU(node.get("alpha", 1.0))),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "Gelu": _activation(_gelu),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(mean=True),
    "GlobalMaxPool": _global_pool(mean=False),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(lambda node: nn.Hardswish()),
    "Identity": same,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _activation(lambda node: nn.LeakyReLU(node.get("alpha", 0.01))),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _matmul,
    "Max": _several(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _several(torch.minimum),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary(torch.pow),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _activation(lambda node: nn.ReLU()),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _activation(_selu),
    "Shape": _shape,
    "Sigmoid": _activation(lambda node: nn.Sigmoid()),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _activation(lambda node: nn.Softplus()),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _several(torch.add),
    "Tanh": _activation(lambda node: nn.Tanh()),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
    "Where": _where,
}
RECURRENT = ("LSTM", "GRU", "RNN", "Loop", "Scan", "If")


def dtypes() -> dict[int, torch.dtype]:
    """Return the types of ONNX that are read."""
    from onnx import TensorProto as Kind

    return {
        Kind.FLOAT: torch.float32,
        Kind.DOUBLE: torch.float64,
        Kind.FLOAT16: torch.float16,
        Kind.BFLOAT16: torch.bfloat16,
        Kind.INT64: torch.int64,
        Kind.INT32: torch.int32,
        Kind.BOOL: torch.bool,
    }
