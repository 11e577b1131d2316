"""Recipes: on which images a model is trained. Small frozen records, one a method.

Every recipe minimises cross-entropy on perturbed images; they differ in `perturb` alone. Attack
steps run in eval mode with gradients for the images only (see `attacks`).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch

from surefoot.attacks.pgd import pgd
from surefoot.attacks.udp import udp
from surefoot.threat import Threat
from surefoot.types import Images, Labels, Model


@dataclass(frozen=True)
class Standard:
    """Clean images: empirical risk minimisation."""

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Leave the images as they are."""
        return images


@dataclass(frozen=True)
class PGD:
    """Images of highest loss within the threat (Madry et al. 2018).

    Args:
        threat: ball and box.
        steps: of projected ascent.
        step_size: length of a step; None takes 2.5 eps / steps.
        random_start: start at a random point of the ball.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Climb the loss."""
        return pgd(
            model,
            images,
            labels,
            threat=self.threat,
            steps=self.steps,
            step_size=_or(self.step_size, 2.5 * self.threat.eps / self.steps),
            random_start=self.random_start,
            generator=generator,
        )


@dataclass(frozen=True)
class UDP:
    """Images of highest uncertainty, reached in a random number of steps (UDP-PGD).

    Args:
        threat: ball and box; it may be far larger than for `PGD`.
        steps: largest number of steps.
        step_size: length of a step; None takes eps / steps, so that few reach the surface.
        step_counts: drawn for each example, or the same for all.

    Reference: Pagliardini et al. 2022, Algorithm 1.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    step_counts: Literal["uniform", "fixed"] = "uniform"

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Climb the entropy; labels are not used."""
        return udp(
            model,
            images,
            threat=self.threat,
            steps=self.steps,
            step_size=_or(self.step_size, self.threat.eps / self.steps),
            step_counts=self.step_counts,
            generator=generator,
        )


@dataclass(frozen=True)
class Noise:
    """Images with Gaussian noise, not clipped: the base classifier of a vote (Cohen et al. 2019).

    Args:
        sigma: standard deviation in pixel units.
    """

    sigma: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"`sigma` must be finite and above 0; found {self.sigma}")

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Add noise."""
        noise = torch.randn(images.shape, generator=generator)
        return images + self.sigma * noise.to(images)


def _check(steps: int, step_size: float | None) -> None:
    if steps < 1 or (step_size is not None and not step_size > 0):
        raise ValueError(f"need steps >= 1 and step_size > 0; found {steps} and {step_size}")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


Recipe = Standard | PGD | UDP | Noise
RECIPES: dict[str, type[Standard] | type[PGD] | type[UDP] | type[Noise]] = {
    "standard": Standard,
    "pgd": PGD,
    "udp": UDP,
    "noise": Noise,
}
