"""GloRo: training that sees the certificate, for nets whose Lipschitz constant is measured.

No perturbation is searched for: the loss looks at the logits, and at how fast they could change.
The required margins T [C, C] (`slack`) are eps times the pairwise Lipschitz constants: where
f_a - f_i > T_ai for every other class i, the label a is certified at eps. All of it for any
guarantee of the quantifier "every": with several alternatives the best one counts. Gradients flow
into logits and required margins.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.nn.utils.parametrize import cached

from surefoot.guarantees import Affinity, Guarantee, Local, RelaxedTopK, TopK, containing
from surefoot.training.lipschitz_estimate import estimated_pairwise
from surefoot.training.outputs import Outputs
from surefoot.types import Labels, Outcomes, PerExample

Course = Literal["constant", "linear", "logarithmic"]
Form = Literal["bottom", "trades", "emma", "margin", "annealing"]


@dataclass(frozen=True)
class GloRo:
    r"""Certified training: every guarantee of sets, five losses.

    With required margins T = r eps K (K the estimated pairwise constants, r the course of eps),
    $y_\bot$ the logit of "uncertain" and L the cross-entropy:

    - "bottom": L on C + 1 outcomes, $L(f, y_\bot)$;
    - "trades": $L(f) + w \log(1 + e^{y_\bot} / \sum_c e^{f_c})$;
    - "emma": L of logits raised by $s_i T_{yi}$, s the fraction that is needed;
    - "margin": the same with s = 1;
    - "annealing": "emma" with a weight $(1 - p_y)^5$, temperature and offset.

    Args:
        guarantee: What is to be certified: local, top-k, relaxed top-K or affinity.
        eps: The l2 radius in pixel units.
        form: Form of the loss.
        eps_course: Course of r over the training: "constant"; "linear"; "logarithmic", in equal
            factors up to the middle and then constant.
        eps_from: Factor r at the start.
        eps_to: Factor r at the end; a little above 1 allows for the certificate.
        weight: Weight w at the end.
        weight_from: Weight w at the start, growing linearly to `weight`; None takes `weight`.
        leniency: Fraction of the required margin by which another class of the label's own set may
            lie above it, in "emma", "margin" and "annealing"; larger sets, fewer certified
            mistakes.
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

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of the form, with the required margins of the moment."""
        model, shape = outputs.model, tuple(outputs.images.shape[1:])
        if model is None:
            raise ValueError("`gloro` measures the layers of one net; a stack of nets has none")
        with cached():  # a constrained weight is computed once, for the logits and for its norm
            logits = outputs.clean
            constants = estimated_pairwise(
                model, shape, epoch=outputs.epoch, steps=self.power_steps
            )
        return self.loss_of(logits, outputs, self.radius(outputs.done) * constants.to(logits))

    def loss_of(self, logits: Outcomes, outputs: Outputs, slack: Tensor) -> PerExample:
        """Return the loss of logits under required margins."""
        labels = outputs.labels
        if self.form in ("bottom", "trades"):
            outcomes = with_bottom(logits, self.guarantee, slack)
            if self.form == "bottom":
                return outputs.cross_entropy(outcomes)
            weight = self.weighted(outputs.done)
            return outputs.cross_entropy(logits) + weight * rejection_divergence(outcomes)
        shifted = shifted_logits(
            logits,
            labels,
            self.guarantee,
            slack,
            whole=self.form == "margin",
            leniency=self.leniency,
        )
        if self.form == "annealing":
            return annealed(shifted, labels, self.temperature, self.offset)
        return outputs.cross_entropy(shifted)

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


SMALLEST_FRACTION = 0.01


def with_bottom(logits: Outcomes, guarantee: Guarantee, slack: Tensor) -> Tensor:
    r"""Append the column "uncertain" `[B, C + 1]`: the best logit less the margin of the guarantee.

    $$ y_\bot = \max_c f_c - \max_S \min_{a \in S, i \notin S} (f_a - f_i - T_{ai}) $$
    It is the largest column unless some alternative S is certified. Where there is none (a tie, a
    class in no group) the margin is that of a tie, $-\max T$.

    Reference: Leino, Wang, Fredrikson 2021; Leino, Fredrikson 2021 (sets).
    """
    margin = guarantee.margins(logits, guarantee.sets(logits), slack).amax(1)
    margin = torch.where(margin.isfinite(), margin, -slack.amax())
    return torch.cat([logits, (logits.amax(1) - margin).unsqueeze(1)], 1)


def rejection_divergence(outcomes: Outcomes) -> PerExample:
    r"""Return the divergence from the probabilities without the last column to those with it.

    $$ \mathrm{KL}(\mathrm{softmax}(f), 0 \,\|\, \mathrm{softmax}(f, y_\bot))
       = \log (1 + e^{y_\bot} / \textstyle\sum_c e^{f_c}) $$
    since every class loses the same factor to the last column: the second term of TRADES.

    Reference: Leino, Wang, Fredrikson 2021.
    """
    return softplus(outcomes[:, -1] - outcomes[:, :-1].logsumexp(1))


def shifted_logits(
    logits: Outcomes,
    labels: Labels,
    guarantee: Guarantee,
    slack: Tensor,
    *,
    whole: bool = False,
    leniency: float = 0.0,
) -> Outcomes:
    r"""Raise every other class by the margin that the label needs over it (EMMA).

    $$ f_i + s_i T_{yi}, \qquad s_i = \mathrm{clip}((f_y - f_i) / T_{yi}, 0.01, 1) $$
    With `whole` the fraction s is 1. For a guarantee of several alternatives, S is the one of
    largest margin among those that hold the label ({label} if there is none). Those outside are
    compared with the member nearest to them, $f_y - \min_{a \in S} (f_a - f_i - s_{ai} T_{ai})$,
    which for S = {y} is the line above. The other members b get $f_b - l T_{by}$, l the `leniency`:
    at 1 they may lie above the label by as much as leaves them uncertified alone, and the smallest
    certified set still holds the label.

    Reference: Hu et al. 2023 (EMMA, local); over sets derived here.
    """
    own = logits.gather(1, labels.unsqueeze(1))
    chosen = _chosen(logits, labels, guarantee, slack)
    size = int(chosen.sum(1).max())
    present, members = chosen.float().topk(size, dim=1)
    margin = torch.full_like(logits, torch.inf)
    for place in range(size):
        ahead = logits.gather(1, members[:, place : place + 1]) - logits
        needed = slack[members[:, place]].to(logits)
        fraction = (ahead / needed.clamp(min=1e-12)).clamp(SMALLEST_FRACTION, 1).detach()
        rest = ahead - (needed if whole else fraction * needed)
        held = present[:, place : place + 1] > 0
        margin = torch.where(held, torch.minimum(margin, rest), margin)
    inside = logits - leniency * slack[labels].to(logits)  # the slack is symmetric, 0 for the label
    return torch.where(chosen, inside, own - margin)


def annealed(outcomes: Outcomes, labels: Labels, temperature: float, offset: float) -> PerExample:
    r"""Return the cross-entropy with a further offset, less of it where the label is likely
    already.

    $$ T (1 - p_y)^5 \, L((f - o \, e_y) / T) $$
    with p the softmax of the same logits. It spends the gradient on the
    examples that can still be won.

    Reference: Lai et al. 2025 (logit annealing).
    """
    lowered = outcomes.scatter_add(
        1, labels.unsqueeze(1), torch.full_like(outcomes[:, :1], -offset)
    )
    log_p = (lowered / temperature).log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return -temperature * (1 - log_p.exp()).pow(5) * log_p


def _chosen(logits: Outcomes, labels: Labels, guarantee: Guarantee, slack: Tensor) -> Tensor:
    """Choose the set that the label should be certified in, `[B, C]`."""
    alone = torch.zeros_like(logits, dtype=torch.bool).scatter(1, labels.unsqueeze(1), True)
    if not guarantee.set_valued:
        return alone
    with torch.no_grad():
        sets = containing(guarantee.sets(logits), labels)
        margins = guarantee.margins(logits, sets, slack)
        best = margins.argmax(1)
        found = sets[torch.arange(len(sets), device=sets.device), best]
        return torch.where(margins.amax(1, keepdim=True).isfinite(), found, alone)
