"""Certified training by bounds on logit margins in a ball: IBP, CROWN-IBP, SABR, MTL-IBP.

One loss for all of them; what differs is the region (`surroundings`) and the weights. For every
guarantee: labels, sets, and nets that will reject by a gap of logits.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.parametrize import cached

from surefoot.guarantees import (
    Affinity,
    Guarantee,
    LabelOrUncertain,
    Local,
    RelaxedTopK,
    TopK,
    containing,
)
from surefoot.progress import note
from surefoot.training.interval_bounds import interval_bounds
from surefoot.training.live_net import Statistics, batch_statistics, live_net
from surefoot.training.margin_rows import margins_from_below
from surefoot.training.outputs import Outputs
from surefoot.training.stabilisers import initialise, instability
from surefoot.training.surroundings import BallRegion
from surefoot.types import Labels, Outcomes, PerExample, Sets


@dataclass(frozen=True)
class BoundLoss:
    r"""The cross-entropy of the worst logits that bounds allow in a ball.

    $$ (1 - w) \, L(f(x')) + w \, L(z) + v (1 - p) R, \qquad
       z_i = \max_{a \in S} (T - \underline{f_a - f_i}), \; z_y = 0 $$
    with x' the point of the region (the image, or an attacked one), the underlined bound from below
    in the ball, p the fraction of the final eps, R the penalty of `stabilisers.instability`. S =
    {y} for one label; for sets the alternative of largest bound among those of the clean logits
    that hold the label, whose other members b stand at $f_b - f_y$. Bounds are intervals, mixed
    with lines by the weight `lines`.

    Args:
        guarantee: What is to be certified. With a gap, local is "accepted and right" (i) and
            label-or-uncertain is "never another label" (ii), of the net that rejects by it.
        gap: Gap of logits by which the finished net will reject: the label must exceed the others
            by it in the whole ball (i), or may fall behind by less than it (ii).
        weight: Weight w of the bounds at the final eps.
        weight_from: Weight w at eps 0, moving to `weight` as eps rises; None takes `weight`.
        lines: Weight of lines beside intervals at the final eps (CROWN-IBP).
        lines_from: Weight of lines at eps 0.
        regularisation: Weight v of the penalty on widening bounds and dead ReLUs, while eps rises.
        initial: Initial weights: "ibp" draws those of Shi et al. 2021 in place of the weights that
            the net comes with; "given" keeps them.

    Reference: Gowal et al. 2018; Zhang et al. 2020; Shi et al. 2021; Mueller et al. 2023; De Palma
    et al. 2024; sets and rejection derived here.
    """

    guarantee: Local | TopK | RelaxedTopK | Affinity | LabelOrUncertain = field(
        default_factory=Local
    )
    gap: float = 0.0
    weight: float = 1.0
    weight_from: float | None = 0.0
    lines: float = 0.0
    lines_from: float = 0.0
    regularisation: float = 0.5
    initial: Literal["ibp", "given"] = "ibp"

    def __post_init__(self) -> None:
        parts = [self.weight, self.lines, self.lines_from]
        parts += [] if self.weight_from is None else [self.weight_from]
        if not all(0 <= part <= 1 for part in parts):
            raise ValueError(
                "`weight`, `weight_from`, `lines` and `lines_from` must lie in [0, 1]; found"
                f" {self.weight}, {self.weight_from}, {self.lines}, {self.lines_from}"
            )
        if not (0 <= self.gap < float("inf") and 0 <= self.regularisation < float("inf")):
            raise ValueError(
                "`gap` and `regularisation` must be finite and at least 0; found"
                f" {self.gap} and {self.regularisation}"
            )
        if self.gap and self.guarantee.set_valued:
            raise ValueError("`gap` goes with the guarantees local and label-or-uncertain")

    def start(self, model: nn.Module, generator: torch.Generator) -> None:
        """Draw the initial weights, if they are not those of the net."""
        live_net.cache_clear()  # layers may have been replaced since the net was read
        if self.initial == "ibp":
            note("initial weights are drawn for interval bounds (--initial given keeps the net's)")
            initialise(model, generator)

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        region, model = outputs.region, outputs.model
        if region is None or model is None:
            raise ValueError(
                "bounds need a region around each image and one net: give the recipe a perturbation"
                " of training.surroundings (Ball, SmallBall, AttackedBall), and no stack of nets"
            )
        weight = self._between(self.weight_from, self.weight, region.progress)
        with cached(), batch_statistics(model) as statistics:
            point = outputs.perturbed
        plain = outputs.cross_entropy(point)
        if weight == 0:
            return plain
        alternatives = self._alternatives(outputs)
        margins, penalty = self._margins(outputs, region, alternatives, statistics)
        required = -self.gap if self.guarantee.counts_rejection_as_right else self.gap
        worst = worst_logits(margins - required, alternatives, outputs)
        loss = (1 - weight) * plain + weight * outputs.cross_entropy(worst)
        return loss + self.regularisation * (1 - region.progress) * penalty

    @staticmethod
    def _between(start: float | None, end: float, progress: float) -> float:
        """Return a weight at a fraction of the final eps."""
        return end if start is None else start + (end - start) * progress

    def _alternatives(self, outputs: Outputs) -> "LabelAlternatives":
        labels = outputs.labels
        if not self.guarantee.set_valued:
            own = one_hot(labels, outputs.perturbed.shape[1]).bool()
            return LabelAlternatives(own.unsqueeze(1), labels.unsqueeze(1))
        logits = outputs.clean.detach()
        return alternatives_of(self.guarantee, logits, labels)

    def _margins(
        self,
        outputs: Outputs,
        region: BallRegion,
        alternatives: "LabelAlternatives",
        statistics: Statistics,
    ) -> tuple[Tensor, Tensor]:
        """Bound f_a - f_i from below for all members a, `[B, K, C]`; and return the penalty."""
        point = outputs.perturbed
        unit = torch.eye(point.shape[1]).to(point)
        rows = unit[alternatives.members].unsqueeze(2) - unit
        if region.threat.eps == 0:
            return (rows @ point.view(-1, 1, point.shape[1], 1)).squeeze(3), point.new_zeros(())
        assert outputs.model is not None
        with cached():
            net = live_net(outputs.model, tuple(outputs.images.shape[1:]), outputs.epoch)
            rules = net.rules(statistics)
            known = interval_bounds(net, rules, region)
            flat = rows.flatten(1, 2)
            share = self._between(self.lines_from, self.lines, region.progress)
            found = point.new_zeros(flat.shape[:2])
            for lines, part in ((False, 1 - share), (True, share)):
                if part > 0:
                    bound = margins_from_below(net, rules, region, known, flat, lines=lines)
                    found = found + part * bound
            penalty = point.new_zeros(())
            if self.regularisation and region.progress < 1:
                penalty = instability(net, rules, known)
        return found.view(rows.shape[:3]), penalty


class LabelAlternatives(NamedTuple):
    """The alternatives of each image that hold the label, and all of their members.

    Args:
        sets: `[B, A, C]`; an all-False row is none. Some row of each image is not.
        members: `[B, K]`, indices; members that a shorter list repeats change nothing.
    """

    sets: Sets
    members: Tensor


def alternatives_of(guarantee: Guarantee, logits: Outcomes, labels: Labels) -> LabelAlternatives:
    """Return the alternatives at clean logits that hold the label; {label} where there is none."""
    own = one_hot(labels, logits.shape[1]).bool().unsqueeze(1)
    sets = containing(guarantee.sets(logits), labels)
    sets = torch.cat([sets, own & ~sets.any(2).any(1).view(-1, 1, 1)], 1)
    union = sets.any(1)
    size = int(union.sum(1).max())
    present, members = union.float().topk(size, dim=1)
    return LabelAlternatives(sets, torch.where(present > 0, members, labels.unsqueeze(1)))


def worst_logits(margins: Tensor, alternatives: LabelAlternatives, outputs: Outputs) -> Outcomes:
    r"""Return logits z whose margins are the bounds of the best alternative S.

    $$ z_i = -\min_{a \in S} L_{ai} \; (i \notin S), \qquad z_b = f_b - f_y \; (b \in S) $$
    S has the largest least bound. The label is certified in S iff 0 = z_y is above z_i for all i
    outside.

    Args:
        margins: L, `[B, K, C]`, of the members over every class, less what is required.
        alternatives: of each image.
        outputs: for the clean logits, where sets have further members.
    """
    sets, members = alternatives
    inside = sets.gather(2, members.unsqueeze(1).expand(-1, sets.shape[1], -1))
    pairs = inside.unsqueeze(3) & ~sets.unsqueeze(2)
    least = margins.unsqueeze(1).where(pairs, torch.inf).amin(2)  # [B, A, C]
    there = sets.any(2)
    best = least.detach().amin(2).where(there, -torch.inf).argmax(1)
    rows = torch.arange(len(sets), device=sets.device)
    chosen, bound = sets[rows, best], least[rows, best]
    if members.shape[1] == 1:
        return torch.where(chosen, 0.0, -bound)
    own = outputs.clean.gather(1, outputs.labels.unsqueeze(1))
    return torch.where(chosen, outputs.clean - own, -bound)
