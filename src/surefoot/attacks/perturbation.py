"""Perturbations put together from parts: objective x threat x space x step rule x step count.

What training recipes and fixed-step attacks are made of. The parts are fields of one record; the
loop is `ascent.ascend`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from surefoot.attacks.ascent import Backtracking, Climb, Steepest, ascend, counts_of, predicted
from surefoot.attacks.counted import Counted, Evaluated, Objective
from surefoot.attacks.latent import Head, Point, Shift, Space, in_units_of, open_layer
from surefoot.attacks.objectives import (
    entropy,
    kl_divergence,
    mutual_information,
    objective_of,
)
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import (
    AnyLabels,
    Images,
    Labels,
    Model,
    check_largest,
    checked_images,
    checked_labels,
    rejects,
)
from surefoot.uncertainty.vote import Vote

StepRule = Literal["steepest", "backtracking"]
StepCounts = Literal["fixed", "uniform", "uniform-below", "until-boundary"]
Start = Literal["origin", "uniform", "normal"]
NORMAL_START = 1e-3
"""Standard deviation of the start "normal", as in the original TRADES."""


@dataclass(frozen=True)
class Perturbation:
    """One way to move an example.

    Args:
        threat: ball and box.
        objective: what is climbed: "cross-entropy", "margin", "dlr" (with labels); "entropy"; "kl",
            the divergence from the clean answer; "mutual-information" between outcome and member,
            of a model with `members(images) -> [M, B, C]`.
        steps: largest number of steps.
        step_size: length of a step, in pixel units or in those of the space.
        step_rule: "backtracking" takes a step back where it flips the predicted class, and halves
            the following steps of that example.
        step_counts: "fixed"; "uniform" on {1, ..., steps} for each example; "uniform-below" on {1,
            ..., steps - 1}; "until-boundary" stops where the label is lost.
        extra_steps: further steps behind the boundary, for "until-boundary".
        start: "uniform" in the ball, or "normal" with a deviation of 1e-3.
        ramp: if above 0, steps grow towards the middle step, up to this fraction of eps, and shrink
            again.
        space: the input or a layer.
    """

    threat: Threat = field(default_factory=Threat)
    objective: str = "cross-entropy"
    steps: int = 10
    step_size: float = 2 / 255
    step_rule: StepRule = "steepest"
    step_counts: StepCounts = "fixed"
    extra_steps: int = 0
    start: Start = "origin"
    ramp: float = 0.0
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        least = 2 if self.step_counts == "uniform-below" else 1
        if self.steps < least or not self.step_size > 0:
            raise ValueError(
                f"need steps >= {least} and step_size > 0; found {self.steps}, {self.step_size}"
            )
        if self.extra_steps < 0 or self.ramp < 0:
            raise ValueError(
                f"need extra_steps >= 0 and ramp >= 0; found {self.extra_steps}, {self.ramp}"
            )
        if self.objective == "kl" and self.start == "origin":
            raise ValueError(
                "the divergence from the clean outputs has gradient zero at the origin, where it is"
                ' least: give `start` "uniform" or "normal"'
            )
        if self.objective not in ("kl", "mutual-information"):
            objective_of(self.objective)

    @property
    def step_sizes(self) -> list[float]:
        """Return the length of every step."""
        peak = max(self.ramp * self.threat.eps, self.step_size)
        last = max(self.steps - 1, 1)
        rises = [1 - abs(2 * index / last - 1) for index in range(self.steps)]
        return [self.step_size + (peak - self.step_size) * rise for rise in rises]


def perturb(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    *,
    generator: torch.Generator | None = None,
) -> Point:
    """Move the examples; the model is in eval mode meanwhile, its weights and statistics untouched.

    The column "uncertain" of a selective classifier takes no part in entropy and divergence.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        labels: needed by objectives with a label and by "until-boundary".
        how: the parts.
        generator: source of starts and step counts.

    Returns:
        images inside the threat, or a `Shift` where the space is a layer.
    """
    if how.space.layer:
        return perturb_features(model, images, labels, how, generator=generator)
    return perturb_images(model, images, labels, how, generator=generator)


def perturb_images(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    *,
    generator: torch.Generator | None = None,
) -> Images:
    """Move images within the threat: `perturb` in the space of the input."""
    images = how.threat.origins(images)
    with frozen(model):
        ask = _asked(model, how)
        # Members answer for the batch they were opened with.
        whole = how.objective == "mutual-information"
        return _search(
            model, images, images, labels, how, lambda z, _: ask(z), generator, whole=whole
        )


def perturb_noisy(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    noise: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Images:
    r"""Move images within the threat by what the mean over noise samples of them says.

    The objective is that of $\log \tfrac{1}{S} \sum_s \mathrm{softmax}(f(x + e_s))$ with the same
    noise at every step: for the cross-entropy the loss of SmoothAdv (Salman et al. 2019), for
    "entropy" that of the mean prediction.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        labels: needed by objectives with a label.
        how: the parts; no layer, and an objective of the outcomes alone.
        noise: `[B, S, ...]` in pixel units; added to the image, and not clipped.
        generator: source of starts and step counts.

    Returns:
        images inside the threat, without the noise.
    """
    images = how.threat.origins(images)
    if how.space.layer or how.objective in ("kl", "mutual-information"):
        raise ValueError(
            "under noise only images are moved, by an objective of the mean outcomes:"
            f" cross-entropy, margin, dlr or entropy; found {how.objective!r} and the layer"
            f" {how.space.layer!r}"
        )
    with frozen(model):
        vote = Vote(model, 1.0)
        return _search(
            model,
            images,
            images,
            labels,
            how,
            lambda z, rows: vote.soft(z, noise[rows.to(noise.device)]),
            generator,
            whole=True,
        )


def perturb_features(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    *,
    generator: torch.Generator | None = None,
) -> Shift:
    """Move what the layer `how.space.layer` gives out: `perturb` in that space."""
    images = checked_images(images, how.threat.low, how.threat.high)  # eps is one of features
    with frozen(model):
        origins, head = open_layer(model, how.space.layer, images, _asked(model, how))
        threat, factor = in_units_of(origins, how.threat, how.space.unit)
        scaled = replace(how, threat=threat, step_size=how.step_size * factor)
        found = _search(model, images, origins, labels, scaled, head, generator, whole=True)
    return Shift(images, how.space.layer, found - origins)


def _search(
    model: Model,
    images: Images,
    origins: Images,
    labels: Labels | None,
    how: Perturbation,
    head: Head,
    generator: torch.Generator | None,
    *,
    whole: bool,
) -> Images:
    """Climb in the space of `origins`; `head` maps it, or only all of it at once, to outcomes."""
    start = _start(how, origins, generator)
    rule = Steepest(origins, how.threat)
    if how.step_rule == "backtracking":
        rule = Backtracking(start, origins, how.threat)
    return ascend(
        _climb(head, _objective(how.objective, model, images, labels), whole),
        rule,
        start,
        counts=counts_of(how.step_counts, how.steps, len(origins), generator),
        step_sizes=how.step_sizes,
        crossed=_lost(labels, images) if how.step_counts == "until-boundary" else None,
        extra_steps=how.extra_steps,
    )


def _start(how: Perturbation, origins: Images, generator: torch.Generator | None) -> Images:
    if how.start == "uniform":
        return how.threat.random_point(origins, generator)
    if how.start == "normal":
        noise = torch.randn(origins.shape, generator=generator).to(origins)
        return how.threat.project(origins + NORMAL_START * noise, origins)
    return origins


def _climb(head: Head, objective: Objective, whole: bool) -> Climb:
    return lambda here, rows: Counted(lambda z: head(z, rows), whole=whole, raw=True).evaluate(
        objective, here, rows
    )


def _objective(name: str, model: Model, images: Images, labels: Labels | None) -> Objective:
    classes = -1 if rejects(model) else None
    if name == "entropy":
        return lambda outcomes, rows: entropy(outcomes[:, :classes])
    if name == "mutual-information":
        return lambda outcomes, rows: mutual_information(outcomes)
    if name == "kl":
        with torch.no_grad():
            clean = outcomes_of(model, images)[:, :classes]
        return lambda outcomes, rows: kl_divergence(outcomes[:, :classes], clean[rows])
    known, climb = _needed(labels, images, name), objective_of(name)
    largest = int(known.amax())

    def with_labels(outcomes: Tensor, rows: Tensor) -> Tensor:
        check_largest(largest, outcomes.shape[1] - rejects(model))
        return climb(outcomes, known[rows])

    return with_labels


def _asked(model: Model, how: Perturbation) -> Callable[[Tensor], Tensor]:
    """Return the model, or its members as one model with outcomes `[B, C, M]`."""
    if how.objective != "mutual-information":
        return model if how.space.layer else partial(outcomes_of, model)
    members = getattr(model, "members", None)
    if members is None:
        raise ValueError(
            "the objective mutual-information needs a model with `members(images) -> [M, B, C]`:"
            f" an ensemble or MC dropout; {type(model).__name__} has none. Use entropy."
        )
    return lambda images: members(images).movedim(0, 2)


def _lost(labels: Labels | None, images: Images) -> Callable[[Evaluated, Tensor], Tensor]:
    known = _needed(labels, images, "until-boundary")
    return lambda evaluated, rows: predicted(evaluated.outcomes) != known[rows]


def _needed(labels: Labels | None, images: Images, what: str) -> Labels:
    if labels is None:
        raise ValueError(f"{what!r} needs `labels`; found None")
    return checked_labels(labels, images)
