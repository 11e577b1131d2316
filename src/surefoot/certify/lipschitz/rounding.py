r"""Errors of execution: how far computed logits may lie from those of exact arithmetic.

A certificate speaks of the net as it runs, and it runs twice: at the image and at the attacked
point. Along the steps of the net, at any point within r of the image, the l2 error is at most
$e_0 + e_1 r$:

$$ e' = \|W\| e + \gamma_n (g s + b), \qquad s_0 = \|\hat x\| + 2 e_0, \quad s_1 = L + e_1 $$
with s a bound on the size of the computed input there, from its size at the image, and n, g, b of
the layer (`Bound`). Holds for any order of summation, with or without fused operations; not for
algorithms that are not sums of products (Winograd, FFT) nor for reduced precision (TF32, bfloat16):
on a GPU the unit of TF32 is taken where torch may use it.

Higham 2002, chapter 3 (gamma); carrying it through a Lipschitz net is derived here.
"""

from typing import Any

import torch
from torch import Tensor, fx

from surefoot.certify.lipschitz.constants import Constants
from surefoot.certify.lipschitz.graph import Step

SMALLEST = 2.0**-126
"""Results below may be flushed to zero: an absolute error that gamma does not know."""


class Execution(fx.Interpreter):
    """Run a net on images and carry the bound on its errors along.

    Args:
        constants: of the net.
        unit: of the arithmetic, `unit_of(images)`.
    """

    def __init__(self, constants: Constants, unit: float) -> None:
        super().__init__(constants.graph.module)
        self.constants, self.unit = constants, unit
        self.steps = {step.name: step for step in constants.graph.steps}
        self.at_image: dict[str, Tensor] = {}
        self.growth: dict[str, float] = {}
        self.size: dict[str, Tensor] = {}

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor, float]:
        """Give the logits `[B, C]`, their l2 error at the images `[B]`, and its growth with r."""
        outcomes = self.run(images)
        result = self.constants.graph.result
        return outcomes, self.at_image[result], self.growth[result]

    def run_node(self, n: fx.Node) -> Any:
        """Run a node; if it is a step, bound its error."""
        value = super().run_node(n)
        name = n.name
        if name == self.constants.graph.source:
            self.at_image[name] = torch.zeros(len(value), dtype=torch.float64, device=value.device)
            self.growth[name] = 0.0
        elif name in self.steps:
            features = value[0].numel()
            self.at_image[name], self.growth[name] = self._error(self.steps[name], features)
        else:
            return value
        size = torch.linalg.vector_norm(value.flatten(1), dim=1, dtype=torch.float64)
        self.size[name] = size * (1 + 1e-9)
        return value

    def _error(self, step: Step, features: int) -> tuple[Tensor, float]:
        bound, slopes = self.constants.bounds[step.name], self.constants.slopes
        slope = float(bound.slope)
        errors = [self.at_image[name] for name in step.sources]
        growths = [self.growth[name] for name in step.sources]
        sizes = [self.size[name] + 2 * self.at_image[name] for name in step.sources]
        spreads = [float(slopes[name]) + self.growth[name] for name in step.sources]
        if step.join == "stack":
            return _root(torch.stack(errors)), sum(one**2 for one in growths) ** 0.5 * (1 + 1e-12)
        fresh = gamma(bound.terms, self.unit)
        least = bound.terms * features**0.5 * SMALLEST
        error = slope * sum(errors) + fresh * (bound.gain * sum(sizes) + bound.offset) + least
        growth = slope * sum(growths) + fresh * bound.gain * sum(spreads)
        return error * (1 + 1e-12), growth * (1 + 1e-12)


def gamma(terms: int, unit: float) -> float:
    r"""Give $n u / (1 - n u)$: the relative error of n roundings."""
    if terms * unit >= 0.5:
        raise ValueError(
            f"sums of {terms} terms with unit {unit:.1e} may lose every digit: certify in float64"
        )
    return terms * unit / (1 - terms * unit)


def unit_of(images: Tensor) -> float:
    """Give the unit of the arithmetic in which a net runs on these images."""
    reduced = torch.get_float32_matmul_precision() != "highest"
    if images.device.type == "cuda":
        reduced = reduced or torch.backends.cuda.matmul.allow_tf32
        reduced = reduced or torch.backends.cudnn.allow_tf32
    if images.dtype == torch.float32 and reduced:
        coarse = torch.get_float32_matmul_precision() == "medium"
        return 2.0**-8 if coarse else 2.0**-11
    return torch.finfo(images.dtype).eps / 2


def _root(parts: Tensor) -> Tensor:
    return parts.square().sum(0).sqrt() * (1 + 1e-12)
