"""Recipes that climb what the model is unsure of (Pagliardini et al. 2022). No label is used."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from surefoot.attacks.latent import Point, Space
from surefoot.attacks.perturbation import Perturbation, StepRule, perturb
from surefoot.threat import Threat
from surefoot.training import losses
from surefoot.training.recipe import Outputs, check_steps, length
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class UDP:
    """Images of highest uncertainty, reached in a random number of steps (UDP-PGD).

    Args:
        threat: Ball and box; it may be far larger than for `PGD`.
        steps: Largest number of steps.
        step_size: Length of a step; None takes eps / steps, so that few reach the surface and the
            mean reach is about eps / 2.
        step_counts: Number of steps: "uniform" draws {1, ..., steps} for each example (the authors'
            code), "uniform-below" {1, ..., steps - 1} (the paper), "fixed" takes `steps`.
        step_rule: Rule of a step: "backtracking" halves one that flips the predicted class.
        uncertainty: Score that is ascended: "entropy" (of the mean, for several members), or
            "mutual-information" of a model with `members`.
        ramp: Fraction of eps that the middle step grows to; 0 keeps all steps alike.
        space: Space of the perturbation, the input or a layer.

    Reference: Pagliardini et al. 2022, Algorithm 1.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    step_counts: Literal["uniform", "uniform-below", "fixed"] = "uniform"
    step_rule: StepRule = "steepest"
    uncertainty: Literal["entropy", "mutual-information"] = "entropy"
    ramp: float = 0.0
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)

    @property
    def perturbation(self) -> Perturbation:
        """Return the parts of the search."""
        return Perturbation(
            self.threat,
            self.uncertainty,
            steps=self.steps,
            step_size=length(self.step_size, 1.0, self.threat, self.steps),
            step_rule=self.step_rule,
            step_counts=self.step_counts,
            ramp=self.ramp,
            space=self.space,
        )

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the uncertainty."""
        return perturb(model, images, None, self.perturbation, generator=generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class UDPR:
    r"""Uncertain images beside clean ones: $L(x) + w \, L(x')$.

    Args:
        udp: Perturbation of the image.
        weight: Weight of the second term.
    """

    udp: UDP = field(default_factory=UDP)
    weight: float = 1.0

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the uncertainty."""
        return self.udp.perturb(model, images, labels, generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at both."""
        clean = answers.cross_entropy(answers.clean)
        return clean + self.weight * answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class UDPTRADES:
    r"""Right at the image, unchanged where uncertainty is highest.

    $$ L(x) + w \, \mathrm{KL}(q \| p) $$

    Args:
        udp: Perturbation of the image.
        weight: Weight of the second term.
        form: Form of the second term, as in `TRADES`.
    """

    udp: UDP = field(default_factory=UDP)
    weight: float = 6.0
    form: losses.Closeness = "kl"

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the uncertainty."""
        return self.udp.perturb(model, images, labels, generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the image, and the distance of the two answers."""
        far = losses.closeness(answers.perturbed, answers.clean, self.form)
        return answers.cross_entropy(answers.clean) + self.weight * far
