r"""Errors of execution: how far computed logits may lie from those of exact arithmetic.

A certificate speaks of the net as it runs, and it runs twice: at the image and at the attacked
point. Along the steps of the net, at any point within r of the image, the l2 error is at most
$e_0 + e_1 r$:

$$ e' = \|W\| e + \gamma_n (g s + b), \qquad s_0 = \|\hat x\| + 2 e_0, \quad s_1 = L + e_1 $$
with s a bound on the size of the computed input there, from its size at the image, and n, g, b of
the layer (`Bound`). Numbers below the normal ones may be flushed to zero where they are written and
where they are read, weights and pixels too: each is an error of that size. And no number may
overflow: the radius ends where one could (`room`). Holds for any order of summation, with or
without fused operations; not for algorithms that are not sums of products (Winograd, FFT) nor for
reduced precision (TF32, bfloat16): on a GPU the unit of TF32 is taken where torch may use it.

Higham 2002, chapter 3 (gamma); carrying it through a Lipschitz net is derived here.
"""

import warnings
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from surefoot.certify.lipschitz.constants import Constants
from surefoot.certify.lipschitz.graph import Step
from surefoot.certify.lipschitz.layer_bounds import LARGEST, SMALLEST, Bound

COARSE = {"tf32": 2.0**-10, "bf16": 2.0**-8}
"""Units of products of float32 in reduced precision; TF32 may cut digits off unrounded."""


class Execution(fx.Interpreter):
    """Run a net on images and carry the bound on its errors along.

    Args:
        constants: of the net.
        unit: of the arithmetic, `unit_of(images)`.
    """

    def __init__(self, constants: Constants, unit: float) -> None:
        super().__init__(constants.graph.module, graph=constants.graph.nodes)
        self.extra_traceback = False  # an error says what it is, without the node of the graph
        self.constants, self.unit = constants, unit
        self.steps = {step.name: step for step in constants.graph.steps}
        self.at_image: dict[str, Tensor] = {}
        self.growth: dict[str, float] = {}
        self.size: dict[str, Tensor] = {}
        self.room = torch.zeros(())

    def logits(self, images: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the logits `[B, C]`, their l2 error at the images `[B]`, and its growth with r."""
        outcomes = self.run(images)
        result = self.constants.graph.result
        if outcomes.ndim != 2:
            raise ValueError(
                f"the net must return logits [B, classes]; found {tuple(outcomes.shape)}: end it"
                " with a layer that gives one row an image, such as nn.Flatten()"
            )
        return outcomes, self.at_image[result], self.growth[result]

    def run_node(self, n: fx.Node) -> Any:
        """Run a node; if it is a step, bound its error."""
        value = super().run_node(n)
        name = n.name
        if name == self.constants.graph.source:
            read = torch.full((len(value),), SMALLEST * value[0].numel() ** 0.5)
            self.at_image[name] = read.to(value.device, torch.float64)
            self.growth[name] = 0.0
            self.room = torch.full_like(self.at_image[name], torch.inf)
        elif name in self.steps:
            self._check(value, self.steps[name], len(self.room))
            features = value[0].numel()
            self.at_image[name], self.growth[name] = self._error(self.steps[name], features)
        else:
            return value
        size = torch.linalg.vector_norm(value.flatten(1), dim=1, dtype=torch.float64)
        self.size[name] = size * (1 + 1e-9)
        if name == self.constants.graph.result:
            lipschitz = float(self.constants.lipschitz_of[name]) + self.growth[name]
            self._limit(Bound(1.0), self.size[name] + 2 * self.at_image[name], lipschitz)
        return value

    def _check(self, value: Tensor, step: Step, rows: int) -> None:
        """Raise where a step gives another shape than it had, or computes in less than counted."""
        if step.after is not None and value.shape != (rows, *step.after):
            raise ValueError(
                f"the step {step.name} gives {tuple(value.shape)} for {rows} images, and"
                f" {step.after} for one: a certificate needs a net that treats each image as if it"
                " were alone"
            )
        if torch.finfo(value.dtype).eps / 2 > self.unit:
            raise ValueError(
                f"a step computes in {value.dtype}, less than the unit {self.unit:.1e} of the"
                " certificate: run without autocast, in one precision throughout"
            )

    def _error(self, step: Step, features: int) -> tuple[Tensor, float]:
        bound, lipschitz_of = self.constants.bounds[step.name], self.constants.lipschitz_of
        lipschitz = float(bound.lipschitz)
        errors = [self.at_image[name] for name in step.sources]
        growths = [self.growth[name] for name in step.sources]
        sizes = [self.size[name] + 2 * self.at_image[name] for name in step.sources]
        spreads = [float(lipschitz_of[name]) + self.growth[name] for name in step.sources]
        if step.join == "stack":
            return _root(torch.stack(errors)), sum(one**2 for one in growths) ** 0.5 * (1 + 1e-12)
        size, spread = sum(sizes), sum(spreads)
        self._limit(bound, size, spread)
        fresh, flushed = gamma(bound.terms, self.unit), SMALLEST * features**0.5
        relative = fresh * bound.gain + flushed * bound.terms**0.5
        error = lipschitz * sum(errors) + relative * size + fresh * bound.offset
        error = error + flushed * (bound.terms + 2)
        growth = lipschitz * sum(growths) + relative * spread
        return error * (1 + 1e-12), growth * (1 + 1e-12)

    def _limit(self, bound: Bound, size: Any, spread: float) -> None:
        """End the radius where a number inside a step may overflow."""
        factor = max(1.0, bound.gain, bound.peak)
        left = (LARGEST - bound.offset - factor * (size + 1)) / (factor * spread + 1e-300)
        self.room = torch.minimum(self.room, left.nan_to_num(0.0).clamp(min=0))


def gamma(terms: int, unit: float) -> float:
    r"""Return $n u / (1 - n u)$: the relative error of n roundings."""
    if terms * unit >= 0.5:
        raise ValueError(
            f"sums of {terms} terms with unit {unit:.1e} may lose every digit: certify in float64"
        )
    return terms * unit / (1 - terms * unit)


def unit_of(images: Tensor) -> float:
    """Return the unit of the arithmetic in which a net runs on these images.

    Raises:
        ValueError: float16, whose overflows and underflows no relative error covers.
    """
    if images.dtype == torch.float16:
        raise ValueError("float16 has no certificate: it overflows; take float32 or bfloat16")
    unit = torch.finfo(images.dtype).eps / 2
    if images.dtype != torch.float32:
        return unit
    coarse = max(unit, *(COARSE.get(name, unit) for name in _settings(images.device.type)))
    if coarse > unit:
        warnings.warn(
            f"torch may run float32 products on {images.device.type} in tf32 or bf16:"
            " certified radii pay for that error and may all be 0. For full precision set"
            " torch.backends.cudnn.allow_tf32 = False (the command line does) and"
            ' torch.set_float32_matmul_precision("highest")',
            stacklevel=2,
        )
    return coarse


def _settings(device: str) -> list[str]:
    """Return the precisions that torch may use for products and convolutions of float32."""
    if not hasattr(torch.backends, "fp32_precision"):  # torch before 2.9
        names = {"highest": "ieee", "high": "tf32", "medium": "bf16"}
        found = [names[torch.get_float32_matmul_precision()]]
        coarse = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        return [*found, "tf32"] if device == "cuda" and coarse else found
    rooms = ("cuda.matmul", "cudnn.conv") if device == "cuda" else ("mkldnn.matmul", "mkldnn.conv")
    return [attrgetter(f"{room}.fp32_precision")(torch.backends) for room in rooms]


def _root(parts: Tensor) -> Tensor:
    return parts.square().sum(0).sqrt() * (1 + 1e-12)
