"""What happens to the weights beside the optimiser's step: an attack on them, and their average.

Adversarial weight perturbation: Wu, Xia, Wang 2020.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class WeightAttack:
    """Train at the worst weights nearby (AWP).

    Args:
        weight_radius: Largest move of a weight tensor, as a fraction of its norm; 0 is off.
        weight_radius_after: Number of epochs before it begins.
    """

    weight_radius: float = 0.0
    weight_radius_after: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.weight_radius < 1 or self.weight_radius_after < 0:
            raise ValueError(
                "need 0 <= weight_radius < 1 and weight_radius_after >= 0; found"
                f" {self.weight_radius}, {self.weight_radius_after}"
            )

    def radius(self, epoch: int) -> float:
        """Return the radius in an epoch, counted from 0."""
        return self.weight_radius if epoch >= self.weight_radius_after else 0.0


@contextmanager
def pushed(model: nn.Module, loss: Callable[[], Tensor], radius: float) -> Iterator[None]:
    r"""Move every weight tensor up the loss for the time of the block; then restore it exactly.

    $$ w \gets w + \mathrm{radius} \, \|w\| \, \frac{\nabla_w L}{\|\nabla_w L\|} $$
    Biases and the scales of normalisation layers (tensors of one dimension) stay, as in the paper;
    so do buffers, though the loss is taken in train mode.

    Args:
        model: its weights are moved.
        loss: to climb, once.
        radius: 0 leaves everything as it is, and takes no loss.
    """
    moved = [weight for weight in model.parameters() if weight.ndim > 1 and weight.requires_grad]
    if radius == 0:
        yield
        return
    with kept(list(model.buffers())):
        gradients = torch.autograd.grad(loss(), moved, allow_unused=True)
    with kept(moved):
        with torch.no_grad():
            for weight, gradient in zip(moved, gradients, strict=True):
                if gradient is not None:
                    weight.add_(
                        gradient * (radius * weight.norm() / gradient.norm().clamp(min=1e-20))
                    )
        yield


@contextmanager
def kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore the values of tensors on exit, bit for bit."""
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)


def copy_of(model: nn.Module) -> Weights:
    """Copy weights and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def average(mean: Weights, model: nn.Module, decay: float, count: int) -> None:
    r"""Move an exponential average towards the weights, in place; integers are copied.

    $$ \bar w \gets d \bar w + (1 - d) w, \quad d = \min(\mathrm{decay}, \tfrac{1 + n}{10 + n}) $$
    with n the steps before this one: early on the average forgets the initial weights quickly.

    Args:
        mean: changed.
        model: its weights and buffers.
        decay: d, once enough steps are done.
        count: n.
    """
    now = min(decay, (1 + count) / (10 + count))
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            mean[name].lerp_(value, 1 - now)
        else:
            mean[name].copy_(value)


@contextmanager
def holding(model: nn.Module, weights: Weights | None) -> Iterator[None]:
    """Load other weights for the time of the block; None leaves its own."""
    if weights is None:
        yield
        return
    own = copy_of(model)
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)
