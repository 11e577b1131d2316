"""Steps that are affine in what flows into them: what they do to points, radii and coefficients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from surefoot.certify.lipschitz.layer_bounds import Shape

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Affine:
    r"""A step $z = W h + b$ of one flow h, or of several.

    Args:
        apply: computes z from the flows, `[N, ...]` each, in float64.
        absolute: computes $|W| r$ from as many flows $r \ge 0$.
        transpose: computes $A W$ from coefficients A `[N, ...]` of z: one tensor a flow.
        terms: longest chain of operations behind one output, as the step is executed.
        mixes: whether an output depends on several inputs.
        peak: numbers inside the step are larger than $|W| |h| + |b|$ by this factor at most.
    """

    apply: Function
    absolute: Function
    transpose: Callable[[Tensor], tuple[Tensor, ...]]
    terms: int
    mixes: bool = True
    peak: float = 1.0


def transposed(apply: Function, shapes: list[Shape]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return the transpose of an affine function: its gradient, which is the same everywhere."""

    def back(coefficients: Tensor) -> tuple[Tensor, ...]:
        flows = [coefficients.new_zeros(len(coefficients), *shape) for shape in shapes]
        # Training differentiates by weights inside; coefficients may hold slopes to optimise.
        graph = torch.is_grad_enabled() or coefficients.requires_grad
        with torch.enable_grad():
            for flow in flows:
                flow.requires_grad_()
            outputs = apply(*flows)
            return torch.autograd.grad(outputs, flows, coefficients, create_graph=graph)

    return back


def rearranged(
    apply: Function, shapes: list[Shape], terms: int = 0, *, mixes: bool = False
) -> Affine:
    """Return a step that moves, scales or averages: no two inputs of one flow meet with two signs.

    Then |W| r is |W r|, flow by flow.
    """

    def absolute(*flows: Tensor) -> Tensor:
        none = [torch.zeros_like(flow) for flow in flows]
        offset = apply(*none)
        parts = [
            (apply(*none[:place], flow, *none[place + 1 :]) - offset).abs()
            for place, flow in enumerate(flows)
        ]
        return torch.stack(parts).sum(0)

    return Affine(apply, absolute, transposed(apply, shapes), terms, mixes)


def dense(layer: Any, shape: Shape) -> Affine:
    """Return a dense layer."""
    return dense_by(*_read(layer))


def dense_by(weight: Tensor, bias: Tensor | None) -> Affine:
    """Return multiplication by a weight, `[O, I]`, and addition of a bias."""
    return Affine(
        lambda flow: functional.linear(flow, weight, bias),
        lambda flow: functional.linear(flow, weight.abs()),
        lambda coefficients: (coefficients @ weight,),
        weight.shape[1] + 1,
    )


def convolved(layer: Any, shape: Shape) -> Affine:
    """Return a convolution in one or two dimensions, with any stride, padding and groups."""
    return convolved_by(layer, shape, *_read(layer))


def convolved_by(layer: Any, shape: Shape, weight: Tensor, bias: Tensor | None) -> Affine:
    """Return the convolution of a layer with other weights, in their precision."""

    def of(flow: Tensor, kernel: Tensor, shift: Tensor | None) -> Tensor:
        return layer._conv_forward(flow, kernel, shift)

    def apply(flow: Tensor) -> Tensor:
        return of(flow, weight, bias)

    terms = weight[0].numel() + 1
    back = transposed(apply, [shape])
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        back = _convolved_back(layer, weight, shape)
    return Affine(apply, lambda flow: of(flow, weight.abs(), None), back, terms)


def _read(layer: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias in float64, without a graph."""
    bias = None if layer.bias is None else layer.bias.detach().double()
    return layer.weight.detach().double(), bias


def _convolved_back(
    layer: Any, weight: Tensor, shape: Shape
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return the transpose without running the layer first, which takes half of the time."""
    axes = weight.ndim - 2
    how = (layer.stride, layer.padding, layer.dilation, False, [0] * axes, layer.groups)

    def back(coefficients: Tensor) -> tuple[Tensor, ...]:
        like = coefficients.new_empty(1).expand(len(coefficients), *shape)
        only_input = [True, False, False]
        found = torch.ops.aten.convolution_backward(
            coefficients, like, weight, None, *how, only_input
        )
        return (found[0],)

    return back


def batch_norm(layer: Any, shape: Shape) -> Affine:
    """Return batch normalisation by stored statistics."""
    if layer.training or layer.running_var is None or layer.running_mean is None:
        raise ValueError(
            "batch normalisation with the statistics of the batch has no relaxation: put the model"
            " into eval mode, with running statistics"
        )
    mean, variance = layer.running_mean.double(), layer.running_var.double() + layer.eps
    if not bool((variance > 2.0**-100).all()):
        raise ValueError(
            f"running_var + eps divides, and holds {variance.min().item():.3g}: a relaxation needs"
            " numbers well above 0; look for channels that never vary in training"
        )
    factor = variance.rsqrt()
    peak = factor.amax().clamp(min=1) * (1 + mean.abs().amax())
    shift = torch.zeros_like(mean)
    if layer.weight is not None:
        weight = layer.weight.detach().double()
        factor, peak = factor * weight, peak * weight.abs().amax().clamp(min=1)
        shift = layer.bias.detach().double()
    return scaled_planes(factor, mean, shift, shape, (10, float(peak)))


def normalised(layer: Any, shape: Shape) -> Affine:
    """Return the subtraction of a mean and the division by a deviation, plane by plane."""
    mean, deviation = layer.mean.double().flatten(), layer.deviation.double().flatten()
    factor = 1 / deviation
    peak = float(factor.abs().amax().clamp(min=1) * (1 + mean.abs().amax()))
    return scaled_planes(factor, mean, torch.zeros_like(mean), shape, (4, peak))


def scaled_planes(
    factor: Tensor, mean: Tensor, shift: Tensor, shape: Shape, execution: tuple[int, float]
) -> Affine:
    """Return $z = factor (h - mean) + shift$ for each plane, with terms and peak of execution.

    Sums inside the step may be as large as the mean: it stands in `absolute` with what flows in, by
    the peak.
    """
    wide = (-1, *(1,) * (len(shape) - 1))
    factor, mean, shift = (one.view(wide) for one in (factor, mean, shift))
    terms, peak = execution
    return Affine(
        lambda flow: (flow - mean) * factor + shift,
        lambda flow: flow * factor.abs(),
        lambda coefficients: (coefficients * factor,),
        terms,
        mixes=False,
        peak=peak,
    )
