"""The outputs of a model on one training batch: what losses are functions of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from surefoot.attacks.ascent import predicted
from surefoot.attacks.latent import Point
from surefoot.training.surroundings import BallRegion
from surefoot.types import Model, PerExample

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(outcomes, labels) -> loss of each example `[B]`."""


@dataclass(frozen=True)
class Outputs:
    """The outcomes of one batch; each forward pass is made when it is first needed.

    Attributes:
        evaluate: returns the outcomes at a point, with a graph.
        images: the clean images.
        point: the perturbed ones: images, or images with shifted features; or S samples of each
            image, `[S B, ...]`, one batch after the other.
        labels: true labels.
        criterion: the cross-entropy, or the model's own.
        model: whose weights are trained, for losses that look at them; None for a stack of nets.
        epoch: counted from 0.
        done: fraction of the steps of the whole training that are behind.
        region: the balls that certified training bounds the net on, beside the point.
    """

    evaluate: Callable[[Point], Tensor]
    images: Tensor
    point: Point
    labels: Tensor
    criterion: Criterion
    model: nn.Module | None = None
    epoch: int = 0
    done: float = 0.0
    region: BallRegion | None = None

    @cached_property
    def clean(self) -> Tensor:
        """Return the outcomes of the clean images."""
        return self.evaluate(self.images)

    @cached_property
    def perturbed(self) -> Tensor:
        """Return the outcomes of the perturbed images."""
        return self.clean if self.point is self.images else self.evaluate(self.point)

    @property
    def moved(self) -> Tensor:
        """Return which images differ from their clean ones."""
        offset = self.point - self.images if isinstance(self.point, Tensor) else self.point.offset
        return (offset != 0).flatten(1).any(1)

    @property
    def samples(self) -> Tensor:
        """Return the outcomes of all samples of each image, `[S, B, O]`."""
        return self.perturbed.unflatten(0, (-1, len(self.labels)))

    @property
    def losses(self) -> Tensor:
        """Return the loss of all samples of each image, `[S, B]`."""
        samples = len(self.perturbed) // len(self.labels)
        each = self.criterion(self.perturbed, self.labels.repeat(samples))
        return each.unflatten(0, (samples, -1))

    @property
    def right(self) -> Tensor:
        """Return which samples of each image are predicted as the label, `[S, B]`."""
        found = predicted(self.perturbed.detach())
        return found.unflatten(0, (-1, len(self.labels))) == self.labels

    def cross_entropy(self, outcomes: Tensor) -> PerExample:
        """Return the loss of outcomes under the true labels."""
        return self.criterion(outcomes, self.labels)


def criterion_of(model: Model, label_smoothing: float) -> Criterion:
    r"""Return the model's own `criterion(outcomes, labels) -> [B]`, or the cross-entropy.

    $$ -(1 - s) \log p_y - \tfrac{s}{C} \sum_c \log p_c $$
    A model whose training needs another likelihood (a Gaussian process, members side by side)
    defines a method `criterion`; every loss then uses it in place of the cross-entropy.
    """
    own = getattr(model, "criterion", None)
    if own is not None:
        return own
    return lambda outcomes, labels: cross_entropy(
        outcomes, labels, reduction="none", label_smoothing=label_smoothing
    )
