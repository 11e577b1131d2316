"""Recipes for the base classifier of a vote: several noise samples of each image, seen together.

What is certified is the vote under Gaussian noise (Cohen et al. 2019), so it is the answers to
noise samples of one image that must agree (`plain.Noise` is the recipe of one sample). The noise is
in pixel units, goes before any normalisation inside the model, and is not clipped.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surefoot.attacks.objectives import kl_divergence, shannon
from surefoot.attacks.perturbation import Perturbation, perturb_noisy
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.training.recipe import Outputs, check_steps, length
from surefoot.training.recipes.uncertainty import UDP
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class Consistency:
    r"""Noise samples must be right, and agree (Jeong, Shin 2020).

    $$ \tfrac{1}{S} \sum_s L(x + e_s) + w \, \tfrac{1}{S} \sum_s \mathrm{KL}(\bar p \| p_s)
       + v \, H(\bar p), \quad \bar p = \tfrac{1}{S} \sum_s p_s $$

    Args:
        sigma: Standard deviation of the noise in pixel units.
        samples: Number S of noise samples of each image.
        weight: Weight w of the divergence.
        entropy_weight: Weight v of the entropy in nats; above 0 the samples agree on something.
    """

    sigma: float = 0.25
    samples: int = 2
    weight: float = 10.0
    entropy_weight: float = 0.5

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.samples)
        check_weights(weight=self.weight, entropy_weight=self.entropy_weight)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Add noise, several times."""
        return (images + noise_for(images, self.sigma, self.samples, generator)).flatten(0, 1)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the mean loss, the divergence from the mean answer, and its entropy."""
        mean = log_mean(answers.samples)
        apart = torch.stack([kl_divergence(one, mean) for one in answers.samples]).mean(0)
        return answers.losses.mean(0) + self.weight * apart + self.entropy_weight * shannon(mean)


@dataclass(frozen=True)
class SmoothAdv:
    r"""Noise samples of images that the smoothed classifier finds hard (Salman et al. 2019).

    $$ \tfrac{1}{S} \sum_s L(x' + e_s), \quad
       x' \approx \arg\max_{x' \in B(x)} -\log \tfrac{1}{S} \sum_s p_y(x' + e_s) $$
    The search climbs the loss of the mean with the same noise at each step, and the samples that
    are trained on have that noise too. Light: two steps, from the image itself. eps = 0 leaves
    noise.

    Args:
        threat: Ball and box of x', l2 as the certificate.
        sigma: Standard deviation of the noise in pixel units.
        samples: Number S of noise samples of each image.
        steps: Steps of projected ascent.
        step_size: Length of a step; None takes 2 eps / steps.
    """

    threat: Threat = field(default_factory=lambda: Threat("l2", 0.25))
    sigma: float = 0.25
    samples: int = 2
    steps: int = 2
    step_size: float | None = None

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.samples)
        check_steps(self.steps, self.step_size)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Climb the loss of the mean answer, and give its noise samples."""
        noise = noise_for(images, self.sigma, self.samples, generator)
        moved = climbed(self, model, images, labels, noise)
        return (moved + noise).flatten(0, 1)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the mean loss of the samples."""
        return answers.losses.mean(0)


@dataclass(frozen=True)
class CATRS:
    r"""Easy noise for images that are hard, the worst for those that are easy.

    With k of the S noise samples right, and losses in ascending order $L_{(1)} \le L_{(2)} \dots$,
    $$ \tfrac{1}{S} \sum_{i \le \max(k, 1)} L_{(i)}
       + w \, [k = S] \, \max_s \max_{x' \in B(x)} L(x' + e_s). $$
    In the manner of confidence-aware training (Jeong, Kim, Shin 2023), simplified: k is the count
    itself, where the authors draw it from a binomial distribution of that fraction, or of a
    confidence that a first net has given; the worst case is the cross-entropy of the label, where
    theirs is the divergence from the soft prediction of that net; what moves is the image under the
    noise, within its box, and mean and deviation of the noise are not restored; the worst sample is
    chosen in eval mode, and it alone is trained on.

    Args:
        threat: Ball and box of x', l2 as the certificate; eps = 0 takes the worst noise as it is.
        sigma: Standard deviation of the noise in pixel units.
        samples: Number S of noise samples of each image.
        weight: Weight w of the worst case.
        steps: Steps of projected ascent for each sample.
        step_size: Length of a step; None takes 2 eps / steps.
    """

    threat: Threat = field(default_factory=lambda: Threat("l2", 0.25))
    sigma: float = 0.25
    samples: int = 4
    weight: float = 1.0
    steps: int = 2
    step_size: float | None = None

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.samples)
        check_steps(self.steps, self.step_size)
        check_weights(weight=self.weight)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Return the noise samples, and behind them the worst one when each is attacked."""
        noise = noise_for(images, self.sigma, self.samples, generator)
        own = noise.flatten(0, 1)
        origins = images.repeat(self.samples, *[1] * (images.ndim - 1))
        known = labels.repeat(self.samples)
        moved = climbed(self, model, origins, known, own.unsqueeze(0)) + own
        with frozen(model), torch.no_grad():
            sure = model(moved).log_softmax(1).gather(1, known.unsqueeze(1))
        worst = sure.view(self.samples, -1).argmin(0)
        rows = torch.arange(len(images), device=images.device)
        chosen = moved.unflatten(0, (self.samples, -1))[worst, rows]
        return torch.cat([(images + noise).flatten(0, 1), chosen])

    def loss(self, answers: Outputs) -> PerExample:
        """Take the smallest losses, as many as samples are right; and the worst where all are."""
        each, worst = answers.losses.split([self.samples, 1])
        right = answers.right[: self.samples].sum(0)
        ranks = torch.arange(self.samples, device=each.device).unsqueeze(1)
        kept = torch.where(ranks < right.clamp(min=1), each.sort(0).values, 0.0).sum(0)
        return kept / self.samples + self.weight * torch.where(right == self.samples, worst[0], 0.0)


@dataclass(frozen=True)
class NoisyUDP:
    r"""Noise samples of images where the smoothed classifier is least certain.

    $$ \tfrac{1}{S} \sum_s L(x' + e_s), \quad
       x' \approx \arg\max_{x' \in B(x)} H(\tfrac{1}{S} \sum_s p(x' + e_s)) $$
    Uncertainty driven perturbations (Pagliardini et al. 2022) of the mean answer under noise, with
    the same noise at each step and in the samples. eps = 0 leaves noise.

    Args:
        udp: Perturbation of the image, by the entropy.
        sigma: Standard deviation of the noise in pixel units.
        samples: Number S of noise samples of each image.
    """

    udp: UDP = field(default_factory=lambda: UDP(Threat("l2", 0.5), steps=4))
    sigma: float = 0.25
    samples: int = 2

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.samples)
        if self.udp.space.layer or self.udp.uncertainty != "entropy":
            raise ValueError(
                "under noise, images are moved by the entropy of the mean answer; found"
                f" uncertainty {self.udp.uncertainty!r} and the layer {self.udp.space.layer!r}"
            )

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Tensor:
        """Climb the entropy of the mean answer, and give its noise samples."""
        noise = noise_for(images, self.sigma, self.samples, generator)
        moved = images
        if self.udp.threat.eps > 0:
            how = self.udp.perturbation
            moved = perturb_noisy(
                model, images, None, how, noise.transpose(0, 1), generator=generator
            )
        return (moved + noise).flatten(0, 1)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the mean loss of the samples."""
        return answers.losses.mean(0)


def climbed(
    recipe: SmoothAdv | CATRS, model: Model, images: Images, labels: Labels, noise: Tensor
) -> Images:
    """Climb the loss of the mean answer over the noise `[S, B, ...]`, by fixed steps."""
    threat = recipe.threat
    if threat.eps == 0:
        return images
    how = Perturbation(
        threat, steps=recipe.steps, step_size=length(recipe.step_size, 2.0, threat, recipe.steps)
    )
    return perturb_noisy(model, images, labels, how, noise.transpose(0, 1))


def noise_for(images: Images, sigma: float, samples: int, generator: torch.Generator) -> Tensor:
    """Draw noise `[S, B, ...]` in pixel units; for one sample the numbers of `Noise`."""
    noise = torch.randn((samples, *images.shape), generator=generator)
    return sigma * noise.to(images)


def log_mean(samples: Tensor) -> Tensor:
    """Return the log of the mean probability over samples `[S, B, O]`, up to a constant a row."""
    return samples.log_softmax(2).logsumexp(0)


def check_noise(sigma: float, samples: int) -> None:
    """Raise unless there is noise, and a sample to put it on."""
    if not 0 < sigma < float("inf") or samples < 1:
        raise ValueError(
            f"need a finite `sigma` above 0 and `samples` of at least 1; found {sigma} and"
            f" {samples}"
        )


def check_weights(**weights: float) -> None:
    """Raise unless the terms of a loss are not rewarded."""
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"`{name}` must be finite and at least 0; found {weight}")
