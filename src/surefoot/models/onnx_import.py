"""ONNX files as torch modules that train, are attacked and are certified; nothing in a file runs.

A graph becomes a `torch.fx.GraphModule` of layers of torch (convolution, dense, normalisation,
activation, pool) and plain functions between them (`onnx_operators`); an unknown operator is named.
The first dimension of the input is the batch, whatever size the file was exported with.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import fx

from surefoot.models.onnx_operators import (
    BATCH,
    OPERATORS,
    PROBABILITY_TAILS,
    RECURRENT,
    Builder,
    Node,
    Traced,
    Value,
    dtypes,
    same,
    sizes_of,
)

if TYPE_CHECKING:
    import onnx


def read_onnx(path: Path | str) -> fx.GraphModule:
    """Read an ONNX file as a module that maps images `[B, ...]` to logits `[B, C]`.

    A final softmax is left out, so that the outputs are logits: probabilities would blind attacks.
    Weights are parameters and train; batch normalisation keeps its statistics in eval mode.

    Raises:
        ImportError: the extra `onnx` is not installed.
        ValueError: no ONNX file, several inputs, an operator or a form of one that is not read;
            names it.
    """
    proto = _proto(Path(path))
    unknown = sorted({one.op_type for one in proto.graph.node} - OPERATORS.keys())
    if unknown:
        kinds = ", ".join(unknown)
        hint = "recurrent nets and control flow" if set(unknown) & set(RECURRENT) else "they"
        raise ValueError(
            f"{path} has operators that are not read: {kinds} ({hint} have no counterpart here)."
            " Export the net without them, or give the torch module itself,"
            " package.module:factory"
        )
    return _built(proto, str(path))


def _proto(path: Path) -> "onnx.ModelProto":
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"{path} needs the package onnx: pip install 'surefoot[onnx]'") from error
    if not path.is_file():
        raise ValueError(f"there is no ONNX file {path}")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own, and whatever external data raises
        raise ValueError(
            f"{path} is not a readable ONNX file ({type(error).__name__}: {error})"
        ) from error


def _built(proto: "onnx.ModelProto", path: str) -> fx.GraphModule:
    from onnx import numpy_helper

    graph = proto.graph
    values: dict[str, Value] = {
        one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer
    }
    inputs = [one for one in graph.input if one.name not in values]
    if len(inputs) != 1 or not graph.output:
        names = ", ".join(one.name for one in inputs)
        raise ValueError(f"{path} must have one input, the images; found {len(inputs)}: {names}")
    build = Builder()
    build.uses.update(name for one in graph.node for name in one.input)
    build.uses.update(one.name for one in graph.output)
    build.opset = max((one.version for one in proto.opset_import if not one.domain), default=1)
    build.batch = _declared_batch(inputs[0])
    values[inputs[0].name] = build.start(inputs[0].name, *_input(inputs[0], path))
    dropped = _tail(graph)
    for place, one in enumerate(graph.node):
        node = _node(one, place, values)
        if place == dropped:
            found: Value | list[Value] = same(build, node)
        else:
            try:
                found = OPERATORS[node.kind](build, node)
            except (RuntimeError, TypeError, KeyError, IndexError, AssertionError) as error:
                raise ValueError(
                    f"{path}: this form of {node.kind} {node.name!r} is not read: {error}"
                ) from error
        outputs = found if isinstance(found, list) else [found]
        values |= dict(zip(one.output, outputs, strict=False))
    result = values[graph.output[0].name]
    if not isinstance(result, Traced):
        raise ValueError(f"the output of {path} does not depend on its input")
    sizes = sizes_of(result)
    if len(sizes) != 2 or sizes[0] != BATCH:
        shown = ", ".join("batch" if size == BATCH else str(size) for size in sizes)
        raise ValueError(
            f"{path} must map images to logits [batch, classes]; its output is [{shown}]"
        )
    module = build.finish(result)
    module.input_shape = tuple(_input(inputs[0], path)[0][1:])  # type: ignore[assignment]
    return module


def _declared_batch(found: "onnx.ValueInfoProto") -> int:
    sizes = found.type.tensor_type.shape.dim
    return sizes[0].dim_value if sizes and sizes[0].HasField("dim_value") else 0


def _input(found: "onnx.ValueInfoProto", path: str) -> tuple[list[int], torch.dtype]:
    """Return the shape of the images, with `BATCH` in front, and their type."""
    kind = found.type.tensor_type
    sizes = [one.dim_value if one.HasField("dim_value") else 0 for one in kind.shape.dim]
    if len(sizes) < 2 or any(size < 1 for size in sizes[1:]):
        raise ValueError(
            f"the input {found.name!r} of {path} has the shape {sizes or 'unknown'}: all sizes but"
            " the batch must be fixed. Export with a fixed image size"
        )
    if kind.elem_type not in dtypes():
        raise ValueError(
            f"the input {found.name!r} of {path} holds numbers of another type than floats: export"
            " the net without its reading of whole numbers"
        )
    return [BATCH, *sizes[1:]], dtypes()[kind.elem_type]


def _tail(graph: "onnx.GraphProto") -> int | None:
    """Return the place of a softmax over classes that gives the output, if there is one."""
    for place, one in enumerate(graph.node):
        axes = [attribute.i for attribute in one.attribute if attribute.name == "axis"]
        if one.op_type in PROBABILITY_TAILS and graph.output[0].name in one.output:
            return place if axes in ([], [1], [-1]) else None
    return None


def _node(one: "onnx.NodeProto", place: int, values: dict[str, Value]) -> Node:
    from onnx import helper, numpy_helper

    attributes = {}
    for attribute in one.attribute:
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "raw_data"):
            value = torch.from_numpy(numpy_helper.to_array(value).copy())
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    missing = [name for name in one.input if name and name not in values]
    if missing:
        raise ValueError(f"{one.op_type} {one.name!r} needs {missing[0]!r}, which nothing makes")
    inputs = [values[name] if name else None for name in one.input]
    names = tuple(name for name in one.input if name)
    return Node(one.op_type, one.name or f"#{place}", attributes, inputs, len(one.output), names)
