"""Recipes that do not search: clean images, noise, and a reward for uncertainty."""

from dataclasses import dataclass

import torch

from surefoot.attacks.objectives import shannon
from surefoot.training.recipe import Outputs
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class Standard:
    """Clean images: empirical risk minimisation."""

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Leave the images as they are."""
        return images

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class MaxE:
    r"""Clean images, and a reward for uncertainty.

    $$ L(x) - w \, H(p(x)) $$

    Args:
        weight: Weight of the entropy, in nats.

    Reference: Pereyra et al. 2017.
    """

    weight: float = 0.1

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Leave the images as they are."""
        return images

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy less the entropy."""
        return answers.cross_entropy(answers.clean) - self.weight * shannon(answers.clean)


@dataclass(frozen=True)
class Noise:
    """Images with Gaussian noise, not clipped: the base classifier of a vote (Cohen et al. 2019).

    Args:
        sigma: Standard deviation in pixel units.
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

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the noisy images."""
        return answers.cross_entropy(answers.perturbed)
