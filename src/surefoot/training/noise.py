"""Perturbations beside a single search: Gaussian noise samples of each image, and turns.

What is certified by smoothing is the majority vote under Gaussian noise (Cohen et al. 2019), so it
is the outputs on noise samples of one image that must agree. The noise is in pixel units, goes
before any normalisation inside the model, and is not clipped.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surefoot.attacks.latent import Point
from surefoot.attacks.perturbation import Perturbation, check_under_noise, perturb_noisy
from surefoot.models.frozen import frozen
from surefoot.types import Images, Labels, Model


@dataclass(frozen=True)
class Noisy:
    """Noise samples of each image, seen together.

    Args:
        sigma: Standard deviation of the noise in pixel units.
        samples: Number S of noise samples of each image.
        perturbation: Moves the image by the mean outputs on the same noise first (Salman et al.
            2019); None leaves it.
    """

    sigma: float = 0.25
    samples: int = 1
    perturbation: Perturbation | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf") or self.samples < 1:
            raise ValueError(
                f"need a finite `sigma` above 0 and `samples` of at least 1; found {self.sigma} and"
                f" {self.samples}"
            )
        if self.perturbation is not None:
            check_under_noise(self.perturbation)

    def move(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Return the noise samples `[S B, ...]`."""
        noise = self.draw(images, generator)
        return (self.search(model, images, labels, noise, generator) + noise).flatten(0, 1)

    def draw(self, images: Images, generator: torch.Generator) -> Tensor:
        """Draw noise `[S, B, ...]` in pixel units."""
        noise = torch.randn((self.samples, *images.shape), generator=generator)
        return self.sigma * noise.to(images)

    def search(
        self,
        model: Model,
        images: Images,
        labels: Labels,
        noise: Tensor,
        generator: torch.Generator,
    ) -> Images:
        """Move the images by the mean outputs over the noise `[S, B, ...]`."""
        how = self.perturbation
        if how is None or how.threat.eps == 0:
            return images
        return perturb_noisy(model, images, labels, how, noise.transpose(0, 1), generator=generator)


@dataclass(frozen=True)
class WorstNoise:
    """Noise samples of each image, and behind them the worst one when each is attacked alone.

    Args:
        noisy: The noise, and how the image is moved under each sample of it.
    """

    noisy: Noisy = field(default_factory=Noisy)

    def move(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Return the noise samples and the worst ones, `[(S + 1) B, ...]`."""
        noise, samples = self.noisy.draw(images, generator), self.noisy.samples
        own, known = noise.flatten(0, 1), labels.repeat(samples)
        origins = images.repeat(samples, *[1] * (images.ndim - 1))
        moved = self.noisy.search(model, origins, known, own.unsqueeze(0), generator) + own
        with frozen(model), torch.no_grad():
            logs = model(moved).log_softmax(1).gather(1, known.unsqueeze(1))
        worst = logs.view(samples, -1).argmin(0)
        rows = torch.arange(len(images), device=images.device)
        chosen = moved.unflatten(0, (samples, -1))[worst, rows]
        return torch.cat([(images + noise).flatten(0, 1), chosen])


@dataclass(frozen=True)
class Alternating:
    """Perturb each batch by one of several perturbations, drawn at random.

    A net trained in one norm is seldom robust in another; here linf and l2 take turns, at the cost
    of one.

    Args:
        perturbations: At least two.

    Reference: Tramer, Boneh 2019 (several perturbations); Madaan, Shin, Hwang 2021 (drawn at
    random).
    """

    perturbations: tuple[Perturbation | Noisy | WorstNoise, ...]

    def __post_init__(self) -> None:
        if len(self.perturbations) < 2:
            raise ValueError(
                f"`perturbations` must be two or more; found {len(self.perturbations)}"
            )

    def move(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Return the examples, perturbed by one of the perturbations."""
        turn = int(torch.randint(len(self.perturbations), (), generator=generator))
        return self.perturbations[turn].move(model, images, labels, generator)
