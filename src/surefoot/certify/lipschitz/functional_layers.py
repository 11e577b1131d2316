"""Functions of torch as the layers that compute the same: leaky_relu(x, 0.2) is LeakyReLU(0.2)."""

from typing import Any, NamedTuple

from torch import fx, nn

from surefoot.certify.lipschitz.kinds import replaced
from surefoot.certify.lipschitz.layer_bounds import unknown


class _Form(NamedTuple):
    """A kind of layer, and the names of the arguments of its function behind the input."""

    kind: type[nn.Module]
    names: tuple[str, ...] = ()


_POOL = ("kernel_size", "stride", "padding")
_EDGES = ("ceil_mode", "count_include_pad", "divisor_override")
FORMS = {
    "sigmoid": _Form(nn.Sigmoid),
    "tanh": _Form(nn.Tanh),
    "leaky_relu": _Form(nn.LeakyReLU, ("negative_slope", "inplace")),
    "relu6": _Form(nn.ReLU6, ("inplace",)),
    "hardtanh": _Form(nn.Hardtanh, ("min_val", "max_val", "inplace")),
    "elu": _Form(nn.ELU, ("alpha", "inplace")),
    "selu": _Form(nn.SELU, ("inplace",)),
    "silu": _Form(nn.SiLU, ("inplace",)),
    "gelu": _Form(nn.GELU, ("approximate",)),
    "hardswish": _Form(nn.Hardswish, ("inplace",)),
    "hardsigmoid": _Form(nn.Hardsigmoid, ("inplace",)),
    "max_pool2d": _Form(nn.MaxPool2d, (*_POOL, "dilation", "ceil_mode", "return_indices")),
    "avg_pool2d": _Form(nn.AvgPool2d, (*_POOL, *_EDGES)),
    "adaptive_avg_pool2d": _Form(nn.AdaptiveAvgPool2d, ("output_size",)),
    "dropout": _Form(nn.Dropout, ("p", "training", "inplace")),
    "dropout2d": _Form(nn.Dropout2d, ("p", "training", "inplace")),
}
"""By name; functions of torch and of torch.nn.functional, and tensor methods, share them."""


def layer_of(node: fx.Node, name: str) -> nn.Module:
    """Return the layer that computes what a call of a function does.

    Args:
        node: the call; its first argument flows in.
        name: of `FORMS`.

    Raises:
        ValueError: an argument that the layer does not have, one that is computed, or in place.
    """
    if "layer" not in node.meta:  # one layer a call, however often the graph is read
        node.meta["layer"] = _made(node, name)
    return node.meta["layer"]


def _made(node: fx.Node, name: str) -> nn.Module:
    kind, names = FORMS[name]
    if why := replaced(kind):
        raise ValueError(f"no Lipschitz bound is known for the operation {name}: {why}")
    behind = node.args[1:]
    given: dict[str, Any] = dict(zip(names, behind, strict=False)) | dict(node.kwargs)
    strange = [str(one) for one in given if one not in names]
    if strange or len(behind) > len(names):
        raise ValueError(unknown(f"the operation {name} with {', '.join(strange) or 'more'}"))
    if any(isinstance(one, fx.Node) for one in node.all_input_nodes[1:]):
        raise ValueError(unknown(f"the operation {name} with an argument that is computed"))
    if given.pop("inplace", False):
        raise ValueError(unknown(f"the operation {name} in place"))
    # Dropout by function is on unless told otherwise; a layer is off in eval mode.
    training = given.pop("training", "training" in names)
    try:
        return kind(**{key: one for key, one in given.items() if one is not None}).train(training)
    except (TypeError, ValueError) as error:
        raise ValueError(unknown(f"the operation {name} ({error})")) from error
