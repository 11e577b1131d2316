"""Perturb the output of a named layer instead of the image.

Pagliardini et al. 2022, section 5.1.2: with E the layers up to the named one and C the rest, the
offset d is added to E(x). There is no image box in that space. The offset lives inside a
`FeatureShift`, which `evaluate` passes through any model, also while its weights are trained.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surefoot.threat import Threat
from surefoot.types import Images, Model

Head = Callable[[Tensor, Tensor], Tensor]
"""(points `[b, ...]` of the space, rows `[b]` they belong to) -> outcomes."""


@dataclass(frozen=True)
class Space:
    """Where a perturbation lives.

    Args:
        layer: Name of a module, as in `model.named_modules()`; empty is the input.
        unit: Unit of eps and step_size at a layer: "typical" multiplies both by the mean norm (that
            of the threat) of the layer's output over the batch, "absolute" takes them as they are.
    """

    layer: str = ""
    unit: Literal["typical", "absolute"] = "typical"


@dataclass(frozen=True)
class FeatureShift:
    """Images whose features at a layer are moved.

    Attributes:
        images: `[B, ...]`, unchanged.
        layer: name of the module.
        offset: added to its output, of the same shape.
    """

    images: Tensor
    layer: str
    offset: Tensor


Point = Tensor | FeatureShift
"""Where the model is evaluated: images, or images with shifted features."""


def evaluate(called: Model, model: Model, point: Point) -> Any:
    """Evaluate at a point.

    Args:
        called: what is called: the model, or a wrapper of it (`accelerate`).
        model: the module that holds the layer.
        point: images, or a shift.
    """
    if isinstance(point, Tensor):
        return called(point)
    with _hooked(layer_of(model, point.layer), lambda features: features + point.offset):
        return called(point.images)


def open_layer(model: Model, layer: str, images: Images, called: Model) -> tuple[Tensor, Head]:
    """Return the features of the images at a layer, and the rest of the model as a function of
    them.

    A layer reached through `nn.Sequential` alone cuts the model in two, and the rest runs alone;
    anywhere else the whole model runs, and the layer's output is replaced on the way.

    Args:
        model: holds the layer.
        layer: its name.
        images: `[B, ...]`.
        called: what maps images to outcomes: the model, or its `members`.
    """
    module = layer_of(model, layer)
    cut = cut_behind(model, layer) if called is model else None
    with torch.no_grad():
        if cut is not None:
            front, back = cut
            return front(images), lambda features, rows: back(features)
        seen: list[Tensor] = []
        with _hooked(module, lambda features: seen.append(features)):
            called(images)
    if not seen:
        raise ValueError(f"the layer {layer!r} is not used when the model runs")

    def rest(features: Tensor, rows: Tensor) -> Tensor:
        with _hooked(module, lambda _: features):
            return called(images[rows])

    return seen[-1], rest


def in_units_of(features: Tensor, threat: Threat, unit: str) -> tuple[Threat, float]:
    """Return threat in the space of these features, without a box, and the factor of its unit."""
    factor = 1.0
    if unit == "typical":
        factor = threat.distance(features, torch.zeros_like(features)).mean().item()
    eps = threat.eps * factor
    # A box around all features; not an infinite one, whose rounding unit would be infinite.
    wall = features.abs().amax().item() + 2 * eps + 1.0
    return replace(threat, eps=eps, low=-wall, high=wall), factor


def cut_behind(model: Model, layer: str) -> tuple[nn.Sequential, nn.Sequential] | None:
    """Cut nested `nn.Sequential`s behind a layer; None where something else is on the way."""
    front: list[nn.Module] = []
    back: list[nn.Module] = []
    module: Any = model
    for name in layer.split("."):
        if type(module).forward is not nn.Sequential.forward:
            return None
        names, parts = list(module._modules), list(module)
        index = names.index(name)
        front += parts[:index]
        back = parts[index + 1 :] + back
        module = parts[index]
    return nn.Sequential(*front, module), nn.Sequential(*back)


def layer_of(model: Model, layer: str) -> nn.Module:
    """Find a layer by its name."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"only a torch module has layers; found {type(model).__name__}")
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        names = ", ".join(name for name in modules if name)
        raise ValueError(f"`layer` must be one of {names}; found {layer!r}")
    return modules[layer]


@contextmanager
def _hooked(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Call a function on the output of a module, and take what it returns instead, if any."""
    handle = module.register_forward_hook(partial(_changed, change))
    try:
        yield
    finally:
        handle.remove()


def _changed(change: Callable[[Tensor], Tensor | None], _: Any, __: Any, features: Tensor) -> Any:
    return change(features)
