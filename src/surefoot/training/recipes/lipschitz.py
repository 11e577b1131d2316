"""GloRo: training that sees the certificate, for nets whose Lipschitz constant is measured.

No perturbation is searched for: the loss looks at the logits, and at how fast they could change.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.parametrize import cached

from surefoot.guarantees import Affinity, Local, RelaxedTopK, TopK
from surefoot.training import margins
from surefoot.training.estimate import estimated_pairwise
from surefoot.training.recipe import Outputs
from surefoot.types import Images, Labels, Model, Outcomes, PerExample

Course = Literal["constant", "linear", "logarithmic"]
Form = Literal["bottom", "trades", "emma", "margin", "annealing"]


@dataclass(frozen=True)
class GloRo:
    r"""Certified training: every guarantee of sets, five losses.

    With slack T = r eps K (K the estimated pairwise constants, r the course of eps), $y_\bot$ the
    logit of "uncertain" and L the cross-entropy:

    - "bottom": L on C + 1 outcomes, $L(f, y_\bot)$;
    - "trades": $L(f) + w \log(1 + e^{y_\bot} / \sum_c e^{f_c})$;
    - "emma": L of logits with the start $s_i T_{yi}$, s the fraction that is needed;
    - "margin": the same with the whole start, s = 1;
    - "annealing": "emma" with a weight $(1 - p_y)^5$, temperature and offset.

    Args:
        guarantee: What is to be certified: local, top-k, relaxed top-K or affinity.
        eps: The l2 radius in pixel units.
        form: Form of the loss.
        eps_course: Course of r over the training: "constant"; "linear"; "logarithmic", in equal
            factors up to the middle and then constant.
        eps_from: Factor r at the start.
        eps_to: Factor r at the end; a little above 1 leaves room for the certificate.
        weight: Weight w at the end.
        weight_from: Weight w at the start, growing linearly to `weight`; None takes `weight`.
        leniency: Fraction of the slack by which another class of the label's own set may lead it,
            in "emma", "margin" and "annealing"; larger sets, fewer confident mistakes.
        temperature: Temperature of "annealing".
        offset: Offset of "annealing".
        power_steps: Steps of the power method, for each layer and step.

    Reference: Leino, Wang, Fredrikson 2021; Leino, Fredrikson 2021; Hu et al. 2023 (emma); Lai et
    al. 2025 (annealing).
    """

    guarantee: Local | TopK | RelaxedTopK | Affinity = field(default_factory=Local)
    eps: float = 0.5
    form: Form = "margin"
    eps_course: Course = "constant"
    eps_from: float = 0.1
    eps_to: float = 1.0
    weight: float = 1.0
    weight_from: float | None = None
    leniency: float = 0.0
    temperature: float = 0.75
    offset: float = 2.0
    power_steps: int = 2

    def __post_init__(self) -> None:
        if self.guarantee.quantifier != "every":
            raise ValueError(
                "a GloRo net is trained for Local, TopK, RelaxedTopK or Affinity; a rejection is"
                f" added to the finished net; found {type(self.guarantee).__name__}"
            )
        if not (self.eps > 0 and self.eps_from > 0 and self.eps_to > 0 and self.power_steps > 0):
            raise ValueError(
                "need eps, eps_from, eps_to and power_steps above 0; found"
                f" {self.eps}, {self.eps_from}, {self.eps_to}, {self.power_steps}"
            )

    def perturb(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Images:
        """Leave the images as they are."""
        return images

    def loss(self, answers: Outputs) -> PerExample:
        """Take the loss of the form, with the slack of the moment."""
        model, shape = answers.model, tuple(answers.images.shape[1:])
        if model is None:
            raise ValueError("`gloro` measures the layers of one net; a stack of nets has none")
        with cached():  # a constrained weight is computed once, for the logits and for its norm
            logits = answers.clean
            constants = estimated_pairwise(
                model, shape, epoch=answers.epoch, steps=self.power_steps
            )
        return self.loss_of(logits, answers, self.radius(answers.done) * constants.to(logits))

    def loss_of(self, logits: Outcomes, answers: Outputs, slack: Tensor) -> PerExample:
        """Take the loss of logits under a slack."""
        labels = answers.labels
        if self.form in ("bottom", "trades"):
            outcomes = margins.with_bottom(logits, self.guarantee, slack)
            if self.form == "bottom":
                return answers.cross_entropy(outcomes)
            weight = self.weighted(answers.done)
            return answers.cross_entropy(logits) + weight * margins.doubt(outcomes)
        shifted = margins.handicapped(
            logits,
            labels,
            self.guarantee,
            slack,
            whole=self.form == "margin",
            leniency=self.leniency,
        )
        if self.form == "annealing":
            return margins.annealed(shifted, labels, self.temperature, self.offset)
        return answers.cross_entropy(shifted)

    def radius(self, done: float) -> float:
        """Return the radius in force after a fraction `done` of the steps."""
        if self.eps_course == "constant":
            return self.eps * self.eps_to
        if self.eps_course == "linear":
            return self.eps * (self.eps_from + (self.eps_to - self.eps_from) * done)
        growth = self.eps_to / self.eps_from
        return self.eps * self.eps_from * growth ** min(2 * done, 1.0)

    def weighted(self, done: float) -> float:
        """Return the weight in force after a fraction `done` of the steps."""
        start = self.weight if self.weight_from is None else self.weight_from
        return start + (self.weight - start) * done
