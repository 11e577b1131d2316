"""What a recipe is: where the model is trained, and which loss it minimises there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from surefoot.attacks.ascent import predicted
from surefoot.attacks.latent import Point
from surefoot.threat import Threat
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class Outputs:
    """What the model says about one batch; each pass is made when it is first asked for.

    Attributes:
        ask: gives the outcomes of a point, with a graph.
        images: the clean images.
        point: the perturbed ones: images, or images with shifted features; or S samples of each
            image, `[S B, ...]`, one batch after the other.
        labels: true labels.
        criterion: (outcomes, labels) -> loss `[B]`: the cross-entropy, or the model's own.
        model: whose weights are trained, for recipes that look at them; None for a stack of nets.
        epoch: counted from 0.
        done: fraction of the steps of the whole training that are behind.
    """

    ask: Callable[[Point], Tensor]
    images: Tensor
    point: Point
    labels: Tensor
    criterion: Callable[[Tensor, Tensor], Tensor]
    model: nn.Module | None = None
    epoch: int = 0
    done: float = 0.0

    @cached_property
    def clean(self) -> Tensor:
        """Return the outcomes of the clean images."""
        return self.ask(self.images)

    @cached_property
    def perturbed(self) -> Tensor:
        """Return the outcomes of the perturbed images."""
        return self.clean if self.point is self.images else self.ask(self.point)

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
        """Return which samples of each image are answered with the label, `[S, B]`."""
        found = predicted(self.perturbed.detach())
        return found.unflatten(0, (-1, len(self.labels))) == self.labels

    def cross_entropy(self, outcomes: Tensor) -> PerExample:
        """Return the loss of outcomes under the true labels."""
        return self.criterion(outcomes, self.labels)


@runtime_checkable
class Recipe(Protocol):
    """A frozen dataclass with two methods; its fields are the flags and the record of a run."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Return the point at which the model is trained; leave the model as it is."""
        ...

    def loss(self, answers: Outputs) -> PerExample:
        """Return the loss of each example."""
        ...


def criterion_of(model: Model, label_smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    r"""Return the model's own `criterion(outcomes, labels) -> [B]`, or the cross-entropy.

    $$ -(1 - s) \log p_y - \tfrac{s}{C} \sum_c \log p_c $$
    A model whose training needs another likelihood (a Gaussian process, members side by side)
    defines a method `criterion`; every recipe then uses it in place of the cross-entropy.
    """
    own = getattr(model, "criterion", None)
    if own is not None:
        return own
    return lambda outcomes, labels: cross_entropy(
        outcomes, labels, reduction="none", label_smoothing=label_smoothing
    )


def check_steps(steps: int, step_size: float | None) -> None:
    """Raise unless the search takes a step."""
    if steps < 1 or (step_size is not None and not step_size > 0):
        raise ValueError(f"need steps >= 1 and step_size > 0; found {steps} and {step_size}")


def length(step_size: float | None, reach: float, threat: Threat, steps: int) -> float:
    """Return length of a step: as asked for, or so that all steps together reach `reach` eps."""
    return reach * threat.eps / steps if step_size is None else step_size
