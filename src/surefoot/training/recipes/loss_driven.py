"""Recipes that climb the loss (or the divergence from the clean answer) in several steps."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from surefoot.attacks.ascent import nearest_crossing
from surefoot.attacks.latent import Point, Space
from surefoot.attacks.objectives import wrong
from surefoot.attacks.perturbation import Perturbation, perturb, perturb_images
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.training import losses
from surefoot.training.recipe import Outputs, check_steps, length
from surefoot.types import Images, Labels, Model, PerExample


@dataclass(frozen=True)
class PGD:
    """Images of highest loss within the threat (Madry et al. 2018).

    Args:
        threat: Ball and box.
        steps: Steps of projected ascent.
        step_size: Length of a step; None takes 2.5 eps / steps.
        random_start: Start at a random point of the ball.
        objective: Loss that is ascended.
        ramp: Fraction of eps that the middle step grows to; 0 keeps all steps alike.
        space: Space of the perturbation, the input or a layer.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    objective: Literal["cross-entropy", "margin"] = "cross-entropy"
    ramp: float = 0.0
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)

    @property
    def perturbation(self) -> Perturbation:
        """Return the parts of the search."""
        return Perturbation(
            self.threat,
            self.objective,
            steps=self.steps,
            step_size=length(self.step_size, 2.5, self.threat, self.steps),
            start="uniform" if self.random_start else "origin",
            ramp=self.ramp,
            space=self.space,
        )

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the loss."""
        return perturb(model, images, labels, self.perturbation, generator=generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class FAT:
    """Friendly: PGD that stops soon after the label is lost (Zhang et al. 2020).

    Args:
        threat: Ball and box.
        steps: Largest number of steps.
        step_size: Length of a step; None takes 2.5 eps / steps.
        extra_steps: Further steps behind the boundary (tau of the paper).
        random_start: Start at a random point of the ball.
        space: Space of the perturbation, the input or a layer.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    extra_steps: int = 1
    random_start: bool = True
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the loss until the label is lost."""
        how = Perturbation(
            self.threat,
            steps=self.steps,
            step_size=length(self.step_size, 2.5, self.threat, self.steps),
            step_counts="until-boundary",
            extra_steps=self.extra_steps,
            start="uniform" if self.random_start else "origin",
            space=self.space,
        )
        return perturb(model, images, labels, how, generator=generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the perturbed images."""
        return answers.cross_entropy(answers.perturbed)


@dataclass(frozen=True)
class TRADES:
    r"""Right at the image, unchanged in its neighbourhood.

    $$ L(x) + w \, \mathrm{KL}(q \| p) $$

    The perturbation climbs the divergence, from a start with noise of deviation 1e-3.

    Args:
        threat: Ball and box.
        steps: Steps of projected ascent.
        step_size: Length of a step; None takes 2.5 eps / steps.
        weight: Weight of the second term.
        form: Form of the second term: the original divergence, or the soft cross-entropy of the
            authors of UDP (with weight 1 it is the weak baseline of their tables).
        space: Space of the perturbation, the input or a layer.

    Reference: Zhang et al. 2019.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    weight: float = 6.0
    form: losses.Closeness = "kl"
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the divergence; labels are not used."""
        how = Perturbation(
            self.threat,
            "kl",
            steps=self.steps,
            step_size=length(self.step_size, 2.5, self.threat, self.steps),
            start="normal",
            space=self.space,
        )
        return perturb(model, images, labels, how, generator=generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the cross-entropy at the image, and the distance of the two answers."""
        far = losses.closeness(answers.perturbed, answers.clean, self.form)
        return answers.cross_entropy(answers.clean) + self.weight * far


@dataclass(frozen=True)
class MART:
    r"""PGD, with more weight on images that are hard when clean (Wang et al. 2020).

    $$ L(x') - \log (1 - \max_{k \ne y} p_k) + w (1 - q_y) \, \mathrm{KL}(q \| p) $$

    Args:
        pgd: Perturbation of the image.
        weight: Weight of the last term.
    """

    pgd: PGD = field(default_factory=PGD)
    weight: float = 6.0

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Climb the loss."""
        return self.pgd.perturb(model, images, labels, generator)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the boosted cross-entropy and the weighted divergence."""
        clean, perturbed, labels = answers.clean, answers.perturbed, answers.labels
        own = answers.cross_entropy(perturbed) + losses.boosted(perturbed, labels)
        return own + self.weight * losses.mart(clean, perturbed, labels)


@dataclass(frozen=True)
class MMA:
    """The nearest wrong point on the way that PGD found: every image gets its own eps.

    Images that stay right in the whole ball count as clean ones only. The nearest point is looked
    for by bisection the way; unlike the authors' code no eps is carried from epoch to epoch.

    Args:
        threat: Ball and box; eps is the largest margin that is asked for.
        steps: Steps of projected ascent.
        step_size: Length of a step; None takes 2.5 eps / steps.
        bisection_steps: Bisection steps between the image and the wrong point.
        clean_weight: Fraction of the clean loss.

    Reference: Ding et al. 2020.
    """

    threat: Threat = field(default_factory=Threat)
    steps: int = 10
    step_size: float | None = None
    bisection_steps: int = 10
    clean_weight: float = 1 / 3

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        if not 0 <= self.clean_weight <= 1:
            raise ValueError(f"`clean_weight` must lie in [0, 1]; found {self.clean_weight}")

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Find a wrong point in the ball and go back to the boundary; else stay."""
        how = PGD(self.threat, self.steps, self.step_size).perturbation
        found = perturb_images(model, images, labels, how, generator=generator)
        with frozen(model), torch.no_grad():
            crossed = wrong(model(found), labels) & ~wrong(model(images), labels)
            near = nearest_crossing(
                found, images, lambda points: wrong(model(points), labels), self.bisection_steps
            )
        return torch.where(spread(crossed, images), near, images)

    def loss(self, answers: Outputs) -> PerExample:
        """Take the clean loss, and the loss at the boundary where there is one."""
        clean = answers.cross_entropy(answers.clean)
        counted = answers.moved | wrong(answers.clean, answers.labels)
        near = answers.cross_entropy(answers.perturbed)
        return losses.max_margin(clean, near, counted, self.clean_weight)
