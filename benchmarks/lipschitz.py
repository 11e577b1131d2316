"""Norm bounds beside the truth and beside power iterations; certificates per second.

    python benchmarks/lipschitz.py

`norms`: our proven bound, the truth (Lanczos in float64, to 1e-12), and the power iteration with
100 steps that other libraries certify with, which is a lower bound. Gaussian kernels, kernels near
the identity (residual blocks), dense matrices with one hidden direction. `radii`: 10,000 images, 10
classes, relaxed top-5, from logits and constants. Rows go to results/lipschitz.jsonl.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import rows
import torch
import tyro
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from surefoot.certify.lipschitz import convolution_bound, spectral_norm_bound
from surefoot.guarantees import RelaxedTopK

ONE = ((1, 1), (1, 1))


@dataclass(frozen=True)
class Options:
    """How much.

    Args:
        size: height and width of the images under the convolutions.
        channels: in and out.
        repeats: timed runs; the fastest counts.
        threads: of torch.
    """

    size: int = 32
    channels: int = 64
    repeats: int = 3
    threads: int = 1


def kernels(channels: int) -> dict[str, Tensor]:
    """Give kernels and matrices by name."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(channels, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5
    identity = torch.zeros_like(noise)
    identity[range(channels), range(channels), 1, 1] = 1
    turned, _ = torch.linalg.qr(torch.randn(512, 512, generator=draw))
    values = torch.full((512,), 0.9)
    values[-1] = 1
    return {
        "convolution, Gaussian": noise,
        "convolution, near the identity": identity + 0.2 * noise,
        "dense 512, Gaussian": torch.randn(512, 512, generator=draw) / 512**0.5,
        "dense 512, hidden direction": (turned * values) @ turned.T,
    }


def maps(weight: Tensor, size: int) -> tuple[Callable, Callable, tuple[int, ...]]:
    """Give the operator, its adjoint, and the shape of its input."""
    if weight.ndim == 2:
        return lambda x: x @ weight.T, lambda y: y @ weight, (1, weight.shape[1])
    shape = (1, weight.shape[1], size, size)
    return (
        lambda x: conv2d(x, weight, padding=1),
        lambda y: conv_transpose2d(y, weight, padding=1),
        shape,
    )


def truth(weight: Tensor, size: int) -> float:
    """Find the norm by Lanczos in float64."""
    forward, back, shape = maps(weight.double(), size)

    def of(function: Callable) -> Callable:
        return lambda flat: function(torch.from_numpy(flat.reshape(shape))).numpy().ravel()

    many = int(np.prod(shape))
    out = forward(torch.zeros(shape, dtype=torch.float64)).numel()
    operator = LinearOperator((out, many), of(forward), of(back), dtype=np.float64)
    return float(svds(operator, k=1, tol=1e-12, return_singular_vectors=False)[0])


def power(weight: Tensor, size: int, steps: int = 100) -> float:
    """Iterate in float32 from a random start, as certificates elsewhere do."""
    forward, back, shape = maps(weight, size)
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        vector = back(forward(vector))
        vector = vector / vector.norm()
    return forward(vector).norm().item()


def bound(weight: Tensor, size: int) -> float:
    """Prove a bound; the undecorated function, which remembers nothing."""
    if weight.ndim == 2:
        return spectral_norm_bound.__wrapped__(weight).item()
    return convolution_bound.__wrapped__(weight, (size, size), padding=ONE).item()


def timed(action: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Give the value, and the least CPU time of some runs."""
    least, value = float("inf"), 0.0
    for _ in range(repeats):
        began = time.process_time()
        value = action()
        least = min(least, time.process_time() - began)
    return value, least


def norms(options: Options) -> None:
    """Compare bounds with the truth."""
    for name, weight in kernels(options.channels).items():
        true = truth(weight, options.size)
        ours, seconds = timed(lambda w=weight: bound(w, options.size), options.repeats)
        low, other = timed(lambda w=weight: power(w, options.size), options.repeats)
        row = {"case": "norm", "weight": name, "size": options.size, "truth": true}
        row |= {"bound_over_truth": ours / true, "power_over_truth": low / true}
        row |= {"bound_seconds": seconds, "power_seconds": other, "threads": options.threads}
        rows.append("lipschitz", row)
        print(
            f"{name:32} bound / truth - 1 = {ours / true - 1:9.2e} in {seconds:6.3f} s;"
            f" power 100: {low / true - 1:9.2e} in {other:6.3f} s"
        )


def radii(options: Options) -> None:
    """Time certificates of 10,000 images."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(10_000, 10, generator=draw)
    constants = (1 + torch.rand(10, 10, generator=draw)).double()
    guarantee = RelaxedTopK(5)

    def work() -> float:
        sets = guarantee.sets(logits)
        return guarantee.lipschitz_radii(logits, sets, constants).sum().item()

    _, seconds = timed(work, options.repeats)
    rows.append("lipschitz", {"case": "radii", "images": 10_000, "k": 5, "seconds": seconds})
    print(f"10,000 images, 10 classes, relaxed top-5: {seconds:.3f} s")


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    torch.set_num_threads(chosen.threads)
    norms(chosen)
    radii(chosen)
