"""Layers of deel-torchlip and orthogonium (extra `lipschitz`): measured here, never trusted.

Their dense and convolution layers are those of torch with a parametrised weight, which is measured
like any other; what is listed are the layers with a `forward` or a `weight` of their own. They go
by the name of their class, so neither library is imported before the user does.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from surefoot.certify.lipschitz.layer_bounds import (
    FOREIGN,
    SQUARABLE,
    Bound,
    Shape,
    adaptive_average,
    average,
    convolution,
    vanished,
)


def _factored(layer: Any, shape: Shape | None) -> Bound:
    """Sorting in groups, times a factor."""
    factor = abs(layer._coefficient_lip)
    return Bound(factor, gain=factor, terms=2)


def _exact(layer: nn.Module, shape: Shape | None) -> Bound:
    """Sorting pairs, or absolute values."""
    if getattr(layer, "axis", 1) < 1:
        raise ValueError(f"{type(layer).__name__} must sort along features, not along images")
    return Bound(1.0)


def _padded_convolution(layer: Any, shape: Shape | None) -> Bound:
    if layer.old_padding_mode.lower() == "symmetric":
        raise ValueError(
            "symmetric padding by more than one pixel has no Lipschitz bound here: take zeros,"
            " circular, reflect or replicate"
        )
    return convolution(layer, shape)


def _times(bound: Bound, factor: float) -> Bound:
    return replace(
        bound, lipschitz=bound.lipschitz * factor, gain=bound.gain * factor, terms=bound.terms + 3
    )


def _scaled_average(layer: Any, shape: Shape | None) -> Bound:
    return _times(average(layer, shape), abs(layer._coefficient_lip * layer.scalingFactor))


def _scaled_mean(layer: Any, shape: Shape | None) -> Bound:
    pixels = 1 if shape is None else shape[-1] * shape[-2]
    return _times(adaptive_average(layer, shape), abs(layer._coefficient_lip) * pixels**0.5)


def _norms(layer: Any, shape: Shape | None) -> Bound:
    """Norms over disjoint windows: none changes by more than its window."""
    if layer.ceil_mode:
        raise ValueError("l2 pooling with ceil_mode has no bound: windows differ at the border")
    taps = layer.kernel_size
    if layer.stride not in (None, taps):
        raise ValueError("l2 pooling over windows that overlap has no bound: stride = kernel_size")
    many = taps * taps if isinstance(taps, int) else taps[0] * taps[1]
    factor = abs(layer._coefficient_lip) * (1 + 1e-15)
    terms = many + 8
    lost = factor * vanished(shape, terms)
    return Bound(factor, gain=factor, offset=lost, terms=terms, peak=SQUARABLE)


FOREIGN |= {
    "orthogonium.layers.conv.AOC.bcop_x_rko_conv.BcopRkoConv2d": convolution,
    "orthogonium.layers.conv.adaptiveSOC.soc_x_rko_conv.SOCRkoConv2d": convolution,
    "deel.torchlip.modules.activation.GroupSort": _factored,
    "deel.torchlip.modules.unconstrained.PadConv2d": _padded_convolution,
    "deel.torchlip.modules.pooling.ScaledAvgPool2d": _scaled_average,
    "deel.torchlip.modules.pooling.ScaledAdaptiveAvgPool2d": _scaled_mean,
    "deel.torchlip.modules.pooling.ScaledL2NormPool2d": _norms,
    "orthogonium.layers.custom_activations.MaxMin": _exact,
    "orthogonium.layers.custom_activations.Abs": _exact,
}
