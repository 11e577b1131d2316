"""Recipes of one gradient step: cheap, and prone to catastrophic overfitting (see `judge`)."""

from dataclasses import dataclass, field, replace

import torch

from surefoot.attacks.pgd import fgsm, pgd
from surefoot.threat import Threat
from surefoot.training.recipe import Outputs
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class FGSM:
    """One steepest step of length eps from the image (Goodfellow et al. 2015).

    Args:
        threat: Ball and box.
    """

    threat: Threat = field(default_factory=Threat)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Take the step."""
        return fgsm(model, images, labels, threat=self.threat)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class RFGSM:
    """One steepest step from a random point of the ball (Tramer et al. 2018; Wong et al. 2020).

    The gradient is taken at the random point, as is common; Pagliardini et al. 2022 write it at the
    image.

    Args:
        threat: Ball and box.
        step_size: None takes 1.25 eps.
    """

    threat: Threat = field(default_factory=Threat)
    step_size: float | None = None

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Start anywhere in the ball and take the step."""
        step_size = 1.25 * self.threat.eps if self.step_size is None else self.step_size
        return pgd(
            model,
            images,
            labels,
            threat=self.threat,
            steps=1,
            step_size=step_size,
            random_start=True,
            generator=generator,
        )

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class NFGSM:
    """One steepest step of length eps from a noisy image; the sum is not brought back to the ball.

    Args:
        threat: Ball and box; eps is the length of the step.
        spread: Radius of the uniform noise in units of eps; 0 is FGSM.

    Reference: de Jorge et al. 2022.
    """

    threat: Threat = field(default_factory=Threat)
    spread: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.spread < float("inf"):
            raise ValueError(f"`spread` must be finite and at least 0; found {self.spread}")

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Add noise, then take the step from there."""
        wide = replace(self.threat, eps=self.spread * self.threat.eps)
        return fgsm(model, wide.random_point(images, generator), labels, threat=self.threat)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)
