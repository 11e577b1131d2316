"""What is known of each kind of layer: its Lipschitz constant, and how its execution rounds.

A layer counts as of a kind only if it computes exactly what that kind computes (`kinds`): a
subclass with a method of its own on the way, a hook or a patched instance may compute anything. A
parametrised layer (whose class is made by torch) still computes what its kind does, with the weight
of the moment.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.certify.lipschitz.convolution import convolution_bound, padding_norm
from surefoot.certify.lipschitz.kinds import check_tensors, remember_kind, strange
from surefoot.certify.lipschitz.norms import UNIT, schur_bound, spectral_norm_bound
from surefoot.models.lipschitz.one_lipschitz import BetaAbs, MinMax, NormPool, Scale, Shift
from surefoot.models.normalize import Normalize

Shape = tuple[int, ...]
SMALLEST = 2.0**-126
"""Numbers below may be flushed to zero, also when read: an error that no relative one covers."""
LARGEST = 2.0**118
"""No number inside a step may exceed this: a thousandth of where float32 and bfloat16 overflow."""
SQUARABLE = LARGEST**0.5


@dataclass(frozen=True)
class Bound:
    r"""What a layer does to distances, and what its floating-point execution adds.

    Executed with unit u the layer errs by at most $\gamma_n (g \|x\| + b)$ in the l2 norm, with
    $\gamma_n = n u / (1 - n u)$, besides what it makes of an error in its input.

    Args:
        lipschitz: upper bound of the Lipschitz constant, l2.
        gain: g, a bound on the norm of the absolute weights.
        offset: b, a bound on the norm of what is added.
        terms: n, the length of the longest chain of operations behind one output; 0 = exact.
        peak: no number on the way to an output exceeds $\max(1, g, peak) (\|x\| + 1) + b$.
    """

    lipschitz: Tensor | float
    gain: float = 1.0
    offset: float = 0.0
    terms: int = 0
    peak: float = 1.0


Rule = Callable[[Any, Shape | None], Bound | float]
_RULES: dict[type[nn.Module], Rule] = {}
_READABLE: set[type[nn.Module]] = set()
FOREIGN: dict[str, Rule] = {}
"""Rules by the full name of a class, for libraries that may not be there (`foreign`)."""


def register(kind: type[nn.Module], rule: Rule) -> None:
    """Make a kind of layer known to the certificates.

    Args:
        kind: the class; subclasses with a `forward` of their own are not meant.
        rule: gives for a layer and the shape of its input (without the batch) its `Bound`, or its
            Lipschitz constant alone: its execution is then taken to round like a sum of all its
            inputs.
    """
    _RULES[kind] = rule
    _READABLE.discard(kind)
    remember_kind(kind)


def make_readable(kind: type[nn.Module]) -> None:
    """Let `trace` read a kind of layer that has no Lipschitz bound; `bound` raises for it."""
    if kind not in _RULES:

        def none(layer: nn.Module, shape: Shape | None) -> Bound:
            raise ValueError(unknown(f"the layer {type(layer).__name__}"))

        _RULES[kind] = none
        _READABLE.add(kind)
    remember_kind(kind)


def kind_of(layer: nn.Module) -> type[nn.Module] | None:
    """Return the nearest class of a layer that has a rule."""
    return next((one for one in type(layer).__mro__ if _rule(one) is not None), None)


def _rule(kind: Any) -> Rule | None:
    if kind in _RULES or getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind:
        return _RULES.get(kind)
    return FOREIGN.get(f"{kind.__module__}.{kind.__name__}")


def rule_of(layer: nn.Module) -> Rule | None:
    """Return the rule of a layer, or None for one that may compute something else."""
    kind = kind_of(layer)
    return None if kind is None or strange(layer, kind) else _rule(kind)


def computes_like(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer computes what this kind computes, and nothing around it."""
    return isinstance(layer, kind) and not strange(layer, kind)


def bound(layer: nn.Module, shape: Shape | None) -> Bound:
    """Bound one layer.

    Args:
        layer: of a known kind, in eval mode.
        shape: of its input, without the batch; None only where the layer does not need it.

    Raises:
        ValueError: no rule, or one that needs a shape, or a layer in a state without a bound.
    """
    rule = _rule(check_known(layer, type(layer).__name__))
    assert rule is not None
    check_tensors(layer)
    try:
        found = rule(layer, shape)
    except (TypeError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"the bound of {layer} cannot read its settings ({first_line(error)}): set them where"
            f" the layer is made, {type(layer).__name__}(...), not afterwards"
        ) from error
    if isinstance(found, Bound):
        return found
    many = math.prod(shape or (1,))
    return Bound(float(found), gain=float(found) * many**0.5, offset=many**0.5, terms=many)


def check_known(layer: nn.Module, name: str) -> type[nn.Module]:
    """Return the kind of a layer, or raise unless it computes what its kind does."""
    kind = kind_of(layer)
    if kind is None:
        raise ValueError(unknown(f"the layer {name}"))
    if why := strange(layer, kind):
        raise ValueError(
            f"no Lipschitz bound is known for the layer {name}: it is a {kind.__name__} that may"
            f" compute something else; {why}."
        )
    return kind


def first_line(error: Exception) -> str:
    """Return what an error says, without the trace that torch appends."""
    return str(error).partition("\n")[0]


def unknown(what: str) -> str:
    """Describe that there is no bound, and how to give one."""
    names = ", ".join(sorted(kind.__name__ for kind in _RULES.keys() - _READABLE))
    return (
        f"no Lipschitz bound is known for {what}. Known: {names}; sums, differences, concatenation,"
        " slices, reshaping and constant factors between them; no hooks, no patched forward. Give a"
        " bound for a layer of yours with certify.lipschitz.register(Layer, rule)."
    )


def _places(shape: Shape | None, axes: int) -> int:
    """Count the positions of a map, over which a bias repeats."""
    return math.prod((shape or (1,))[-axes:]) if axes else 1


def _linear(layer: nn.Linear, shape: Shape | None) -> Bound:
    repeated = math.prod((shape or (1,))[:-1])
    shift = 0.0 if layer.bias is None else _norm(layer.bias) * repeated**0.5
    return Bound(
        spectral_norm_bound(layer.weight),
        gain=schur_bound(layer.weight),
        offset=shift,
        terms=layer.weight.shape[1] + 1,
    )


def convolution(layer: nn.Conv1d | nn.Conv2d, shape: Shape | None) -> Bound:
    """Bound a convolution with a bias, in one or two dimensions."""
    channels, *size = _image(layer, shape)
    if channels != layer.in_channels:
        raise ValueError(f"{layer} takes {layer.in_channels} channels; found {channels}")
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight.unsqueeze(2)
    edges = _edges(layer)
    line = len(size) == 1
    lipschitz = convolution_bound(
        weight,
        (1, size[0]) if line else (size[0], size[1]),
        stride=(1, *layer.stride) if line else layer.stride,
        padding=((0, 0), *edges) if line else edges,
        dilation=(1, *layer.dilation) if line else layer.dilation,
        groups=layer.groups,
        mode=layer.padding_mode,
    )
    # Every padding keeps the count of outputs below that of inputs and edges together.
    pixels = math.prod(length + sum(edge) for length, edge in zip(size, edges, strict=True))
    shift = 0.0 if layer.bias is None else _norm(layer.bias) * pixels**0.5
    spread = 1.0
    if layer.padding_mode != "zeros":
        both = ((0, 0), *edges) if line else edges
        spread = padding_norm(
            (1, size[0]) if line else (size[0], size[1]), both, layer.padding_mode
        )
    terms = weight[0].numel() + 1
    return Bound(lipschitz, gain=spread * schur_bound(weight), offset=shift, terms=terms)


def _edges(layer: nn.Conv1d | nn.Conv2d) -> Any:
    """Return the padding before and after on each axis, from what `forward` reads."""
    if layer.padding_mode != "zeros":
        both = layer._reversed_padding_repeated_twice
        edges = tuple(zip(both[::2], both[1::2], strict=True))[::-1]
        if min(both) < 0:
            raise ValueError(f"{layer} cuts off pixels instead of padding: that has no bound")
        return edges
    if layer.padding == "valid":
        return tuple((0, 0) for _ in layer.stride)
    if layer.padding == "same":
        taken = layer.weight.shape[2:]
        total = [step * (taps - 1) for step, taps in zip(layer.dilation, taken, strict=True)]
        return tuple((whole // 2, whole - whole // 2) for whole in total)
    return tuple((int(edge), int(edge)) for edge in layer.padding)


def _image(layer: nn.Module, shape: Shape | None) -> Shape:
    if shape is None:
        raise ValueError(
            f"the bound of {type(layer).__name__} depends on the size of the image: give"
            " `shape=(planes, height, width)`"
        )
    return shape


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape | None) -> Bound:
    if layer.training or layer.running_var is None or layer.running_mean is None:
        raise ValueError(
            "batch normalisation with the statistics of the batch has no Lipschitz bound: put the"
            " model into eval mode, with running statistics"
        )
    factor = inverse(layer.running_var.double() + layer.eps, "running_var + eps").sqrt()
    mean, weight = layer.running_mean.double().abs(), torch.ones(())
    peak = factor.amax().clamp(min=1)
    if layer.weight is not None:
        weight = layer.weight.double().abs()
        factor = factor * weight
    peak = peak * weight.amax().clamp(min=1) * (1 + mean.amax())
    shift = factor * mean
    if layer.bias is not None:
        shift = shift + layer.bias.double().abs()
    largest = factor.amax().item() * (1 + 8 * UNIT)
    where = _places(shape, len(shape or (1,)) - 1)
    offset = _norm(shift) * where**0.5
    return Bound(largest, gain=largest, offset=offset, terms=10, peak=peak.item())


def _normalize(layer: Normalize, shape: Shape | None) -> Bound:
    largest = inverse(layer.deviation.double(), "deviation").amax().item() * (1 + UNIT)
    where = _places(shape, len(shape or (1,)) - 1)
    shift = _norm(layer.mean.double() / layer.deviation.double()) * where**0.5
    peak = max(1.0, largest) * (1 + layer.mean.abs().amax().item())
    return Bound(largest, gain=largest, offset=shift, terms=4, peak=peak)


def inverse(values: Tensor, what: str) -> Tensor:
    """Return 1 / |values|; raise where execution may take one of them for 0."""
    if not bool((values.abs() >= SMALLEST).all()):
        raise ValueError(
            f"{what} divides, and holds {values.abs().min().item():.3g}, which float32 may take for"
            f" 0: a bound needs numbers of at least {SMALLEST:.3g} in size"
        )
    return 1 / values.abs()


def _scale(layer: Scale, shape: Shape | None) -> Bound:
    if type(layer.factor) not in (float, int):
        raise ValueError(
            f"`factor` of Scale must be a number; found {type(layer.factor).__name__}: write"
            " Scale(float(factor)), or multiply by a constant tensor in a forward"
        )
    return Bound(abs(layer.factor), gain=abs(layer.factor), terms=2)


def average(layer: nn.AvgPool2d, shape: Shape | None) -> Bound:
    """Bound an average over windows: a convolution of each channel; overlaps count."""
    size, hop = _pair(layer.kernel_size), _pair(layer.stride)
    edge = _pair(layer.padding)
    if layer.ceil_mode or (any(edge) and not layer.count_include_pad):
        raise ValueError(
            "AvgPool2d whose windows differ at the border has no bound here: set ceil_mode=False"
            " and count_include_pad=True"
        )
    image = _image(layer, shape)
    fraction = 1 / (layer.divisor_override or size[0] * size[1])
    kernel = torch.full((1, 1, *size), fraction, dtype=torch.float64)
    padding = ((edge[0], edge[0]), (edge[1], edge[1]))
    lipschitz = convolution_bound(kernel, image[-2:], stride=hop, padding=padding)
    taps = size[0] * size[1]
    return Bound(lipschitz, gain=float(lipschitz), terms=taps + 1, peak=float(taps))


def adaptive_average(layer: nn.AdaptiveAvgPool2d, shape: Shape | None) -> Bound:
    """Each axis is averaged by a matrix of its own: the norm is the product of theirs."""
    image = _image(layer, shape)
    lipschitz = 1.0
    for length, wanted in zip(image[-2:], _pair(layer.output_size), strict=True):
        lines = nn.functional.adaptive_avg_pool1d(
            torch.eye(length, dtype=torch.float64).unsqueeze(1), wanted or length
        )
        lipschitz *= float(spectral_norm_bound(lines.squeeze(1))) * (1 + UNIT)
    pixels = image[-1] * image[-2]
    return Bound(lipschitz, gain=lipschitz, terms=pixels + 1, peak=float(pixels))


def _maximum(layer: nn.MaxPool2d, shape: Shape | None) -> Bound:
    r"""Each output follows one input; a pixel in m windows may lead all m: $\sqrt{m}$."""
    image = _image(layer, shape)
    with torch.no_grad():
        after = layer(torch.zeros(1, *image))
    after = after[0] if isinstance(after, tuple) else after
    often = 1
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    for axis in (0, 1):
        taps, hop, edge, step = (_pair(value)[axis] for value in settings)
        starts = torch.arange(after.shape[2 + axis]) * hop - edge
        windows = (starts.unsqueeze(1) + torch.arange(taps) * step).flatten()
        inside = windows[(windows >= 0) & (windows < image[-2 + axis])]
        often *= int(inside.bincount().max())
    return Bound(often**0.5 * (1 + UNIT))


def _padded(layer: nn.ConstantPad2d, shape: Shape | None) -> Bound:
    if shape is None or len(shape) < 2:
        raise ValueError(
            f"{type(layer).__name__} pads the last two axes, and one of them is that of the batch"
            " here: it needs images [B, planes, height, width], and their `shape=`"
        )
    return Bound(1.0)


def _dropout(layer: nn.Dropout | nn.Dropout2d, shape: Shape | None) -> Bound:
    if layer.training:
        raise ValueError(
            "dropout that stays random in eval mode has no Lipschitz certificate: certify the vote"
        )
    return Bound(1.0)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) or value is None else tuple(value)  # pyright: ignore[reportReturnType]


def _norm(values: Tensor) -> float:
    return torch.linalg.vector_norm(values.detach().double()).item() * (1 + 1e-9)


def _fixed(lipschitz: float, terms: int = 0) -> Rule:
    """Return the rule of an activation that acts on each feature, with f(0) at most 1 in size."""

    def rule(layer: nn.Module, shape: Shape | None) -> Bound:
        return Bound(
            lipschitz, offset=math.prod(shape or (1,)) ** 0.5 if terms else 0.0, terms=terms
        )

    return rule


def _norm_pool(layer: NormPool, shape: Shape | None) -> Bound:
    terms = _places(shape, 2) + 4
    return Bound(1.0, offset=vanished(shape, terms), terms=terms, peak=SQUARABLE)


def vanished(shape: Shape | None, terms: int) -> float:
    """Return the offset, in float64 and coarser, for features whose squares are too small to add
    up.

    Below 2^-63 a square may be flushed to zero in float32: with it goes at most that feature.
    """
    return 2.0**-63 * math.prod(shape or (1,)) ** 0.5 / (terms * UNIT / 2)


def _leaky(layer: nn.LeakyReLU, shape: Shape | None) -> Bound:
    steepest = max(1.0, abs(layer.negative_slope))
    return Bound(steepest, gain=steepest, terms=2)


def _prelu(layer: nn.PReLU, shape: Shape | None) -> Bound:
    steepest = max(1.0, layer.weight.detach().double().abs().amax().item())
    return Bound(steepest, gain=steepest, terms=2)


def _elu(layer: nn.ELU, shape: Shape | None) -> Bound:
    steepest = max(1.0, abs(layer.alpha))
    return Bound(steepest, gain=steepest, offset=math.prod(shape or (1,)) ** 0.5, terms=16)


EXACT = (
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardtanh,
    nn.PixelUnshuffle,
    nn.PixelShuffle,
    MinMax,
    BetaAbs,
    Shift,
)
"""They move, compare or drop features: Lipschitz constant at most 1, nothing to round."""
for _kind in EXACT:
    register(_kind, _fixed(1.0))
register(nn.Linear, _linear)
register(nn.Conv1d, convolution)
register(nn.Conv2d, convolution)
register(nn.BatchNorm1d, _batch_norm)
register(nn.BatchNorm2d, _batch_norm)
register(nn.AvgPool2d, average)
register(nn.AdaptiveAvgPool2d, adaptive_average)
register(nn.MaxPool2d, _maximum)
register(nn.ZeroPad2d, _padded)
register(nn.ConstantPad2d, _padded)
register(nn.Dropout, _dropout)
register(nn.Dropout2d, _dropout)
register(nn.LeakyReLU, _leaky)
register(nn.PReLU, _prelu)
register(nn.ELU, _elu)
register(nn.SELU, _fixed(1.76, 16))
register(nn.Tanh, _fixed(1.0, 16))
register(nn.Sigmoid, _fixed(0.25, 16))
register(nn.SiLU, _fixed(1.1, 16))
register(nn.GELU, _fixed(1.13, 16))
register(nn.Hardswish, _fixed(1.5, 16))
register(nn.Hardsigmoid, _fixed(1 / 6 * (1 + UNIT), 8))
register(Normalize, _normalize)
register(Scale, _scale)
register(NormPool, _norm_pool)
