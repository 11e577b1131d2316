"""Layers whose Lipschitz constant is bounded while they are trained: spectral normalisation,
exactly.

Miyato et al. 2018, in the soft form of Gouk et al. 2021: a weight is scaled down where it exceeds
the bound, and left alone below. Singular values are computed, not iterated for: the bound holds at
every step up to rounding, and there is no state to save. What a certificate may claim is measured
elsewhere (`certify.lipschitz`).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization


class Bounded(nn.Module):
    """Scale a weight down to the bound: dense `[out, in]` or convolution `[out, in, h, w]`.

    Args:
        bound: largest Lipschitz constant of the layer, l2.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, weight: Tensor) -> Tensor:
        """Return the scaled weight."""
        return weight * (self.bound / norm_bound(weight).clamp(min=self.bound))


def norm_bound(weight: Tensor) -> Tensor:
    r"""Bound the l2 Lipschitz constant of a layer: exact for a dense one, from above for a
    convolution.

    $$ \sqrt{h w} \, \min(\|R\|, \|S\|, \|T\|, \|U\|) $$
    with the kernel as a matrix in four ways: (out, in h w), (out h w, in), (out h, in w) and
    (out w, in h). Holds for any stride, padding by zeros and image size.

    Reference: Singla, Feizi 2021, "Fantastic four".
    """
    if weight.ndim == 2:
        return torch.linalg.matrix_norm(weight, ord=2)
    after, before, height, width = weight.shape
    views = [
        weight.flatten(1),
        weight.transpose(0, 1).flatten(1),
        weight.permute(0, 2, 1, 3).reshape(after * height, before * width),
        weight.permute(0, 3, 1, 2).reshape(after * width, before * height),
    ]
    norms = torch.stack([torch.linalg.matrix_norm(view, ord=2) for view in views])
    return math.sqrt(height * width) * norms.min()


def bound_layers(net: nn.Module, bound: float) -> None:
    """Bound the Lipschitz constant of every dense layer and convolution of a net, in place; start
    at the bound.

    Weights become orthogonal: torch's own start loses most of the signal on the way.

    Raises:
        ValueError: a layer with weights of another kind, whose Lipschitz constant would stay
            unbounded.
    """
    if not bound > 0:
        raise ValueError(f"`bound` must be above 0; found {bound}")
    kinds = (nn.Linear, nn.Conv2d)
    for layer in [part for part in net.modules() if any(True for _ in part.parameters(False))]:
        if not isinstance(layer, kinds) or getattr(layer, "groups", 1) != 1:
            raise ValueError(
                f"no bound is known for the Lipschitz constant of {type(layer).__name__}: take"
                " a net of dense"
                " layers and convolutions without normalisation (mlp, residual-mlp, lenet)"
            )
        nn.init.orthogonal_(layer.weight, gain=bound)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        register_parametrization(layer, "weight", Bounded(bound))
