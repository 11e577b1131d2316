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

from surefoot.attacks.ascent import (
    Backtracking,
    Climb,
    Steepest,
    ascend,
    counts_of,
    nearest_crossing,
    predicted,
)
from surefoot.attacks.counted import Counted, Evaluated, Objective
from surefoot.attacks.latent import FeatureShift, Head, Point, Space, in_units_of, open_layer
from surefoot.attacks.objectives import (
    entropy,
    kl_divergence,
    mutual_information,
    objective_of,
    wrong,
)
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
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
StepCounts = Literal["fixed", "uniform", "uniform-below", "uniform-from-two", "until-boundary"]
Start = Literal["origin", "uniform", "normal"]
NORMAL_START = 1e-3
"""Standard deviation of the start "normal", as in the original TRADES."""


@dataclass(frozen=True)
class Perturbation:
    """One way to move an example.

    Args:
        threat: Ball and box; eps 0 leaves the images.
        objective: What is ascended: "cross-entropy", "cw" or "dlr" of the label; "entropy"; "kl",
            the divergence from the clean outputs; "mutual-information" between outcome and member,
            of a model with `members(images) -> [M, B, C]`.
        steps: Largest number of steps.
        step_size: Length of a step, in pixel units or in those of the space; None takes
            relative_step eps / steps.
        step_rule: Rule of a step: "backtracking" takes a step back where it flips the predicted
            class, and halves the following steps of that example.
        step_counts: Number of steps of each example: "fixed" takes `steps`; "uniform" draws
            {1, ..., steps}, "uniform-below" {1, ..., steps - 1}, "uniform-from-two"
            {2, ..., steps} (UDP, Algorithm 1 to the letter: one step more than was drawn from
            {1, ..., steps - 1}); "until-boundary" stops where the label is lost.
        extra_steps: Further steps behind the boundary, for "until-boundary".
        start: First point: "origin"; "uniform" in the ball; "normal" with a deviation of 1e-3.
        ramp: Fraction of eps that the middle step grows to; 0 keeps all steps alike.
        space: Space of the perturbation, the input or a layer.
        relative_step: Length of all steps together in units of eps, where step_size is None.
        spread: Radius in units of eps of uniform noise that moves the origin first (N-FGSM).
        bisection_steps: Steps that bisect the way back to the boundary (MMA); an image that is
            not newly wrong then stays as it was. 0 keeps the point reached.
    """

    threat: Threat = field(default_factory=Threat)
    objective: str = "cross-entropy"
    steps: int = 10
    step_size: float | None = None
    step_rule: StepRule = "steepest"
    step_counts: StepCounts = "fixed"
    extra_steps: int = 0
    start: Start = "origin"
    ramp: float = 0.0
    space: Space = field(default_factory=Space)
    relative_step: float = 2.5
    spread: float = 0.0
    bisection_steps: int = 0

    def __post_init__(self) -> None:
        least = 2 if self.step_counts in ("uniform-below", "uniform-from-two") else 1
        given = (self.relative_step if self.step_size is None else self.step_size) > 0
        if self.steps < least or not given:
            raise ValueError(
                f"need steps >= {least}, step_size > 0 and relative_step > 0; found {self.steps},"
                f" {self.step_size} and {self.relative_step}"
            )
        if not (self.extra_steps >= 0 and self.ramp >= 0 and self.bisection_steps >= 0):
            raise ValueError(
                "need extra_steps >= 0, ramp >= 0 and bisection_steps >= 0; found"
                f" {self.extra_steps}, {self.ramp} and {self.bisection_steps}"
            )
        if not 0 <= self.spread < float("inf"):
            raise ValueError(f"`spread` must be finite and at least 0; found {self.spread}")
        if self.space.layer and (self.spread or self.bisection_steps):
            raise ValueError("`spread` and `bisection_steps` are for images, not for a layer")
        if self.objective == "kl" and self.start == "origin":
            raise ValueError(
                "the divergence from the clean outputs has gradient zero at the origin, where it is"
                ' least: give `start` "uniform" or "normal"'
            )
        if self.objective not in ("kl", "mutual-information"):
            objective_of(self.objective)

    @property
    def length(self) -> float:
        """Return the length of a step."""
        if self.step_size is None:
            return self.relative_step * self.threat.reach / self.steps
        return self.step_size

    @property
    def step_sizes(self) -> list[float]:
        """Return the length of every step."""
        peak = max(self.ramp * self.threat.eps, self.length)
        last = max(self.steps - 1, 1)
        rises = [1 - abs(2 * index / last - 1) for index in range(self.steps)]
        return [self.length + (peak - self.length) * rise for rise in rises]

    def move(
        self, model: Model, images: Images, labels: Labels, generator: torch.Generator
    ) -> Point:
        """Return the perturbed examples, as a recipe of `training` trains on them."""
        if self.threat.eps == 0:
            return images
        return perturb(model, images, labels, self, generator=generator)


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
        images inside the threat, or a `FeatureShift` where the space is a layer.
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
    if how.spread:
        wide = replace(how.threat, eps=how.spread * how.threat.eps)
        images = wide.random_point(images, generator)
    with frozen(model):
        evaluate = _evaluated(model, how)
        # Members are evaluated on the batch they were opened with.
        whole = how.objective == "mutual-information"
        found = _search(
            model, images, images, labels, how, lambda z, _: evaluate(z), generator, whole=whole
        )
        if how.bisection_steps:
            found = _at_boundary(model, images, found, labels, how.bisection_steps)
        return found


def perturb_noisy(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    noise: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Images:
    r"""Move images within the threat by the mean outputs over noise samples of them.

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
    check_under_noise(how)
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


def check_under_noise(how: Perturbation) -> None:
    """Raise unless images are moved by the mean outcomes over noise."""
    parts = {"bisection_steps": how.bisection_steps, "layer": how.space.layer, "spread": how.spread}
    if any(parts.values()) or how.objective in ("kl", "mutual-information"):
        raise ValueError(
            "under noise only images are moved, by an objective of the mean outcomes:"
            f" cross-entropy, cw, dlr or entropy; found {how.objective!r} and {parts}"
        )


def perturb_features(
    model: Model,
    images: Images,
    labels: AnyLabels | None,
    how: Perturbation,
    *,
    generator: torch.Generator | None = None,
) -> FeatureShift:
    """Move the output of the layer `how.space.layer`: `perturb` in that space."""
    images = checked_images(images, how.threat.low, how.threat.high)  # eps is one of features
    with frozen(model):
        origins, head = open_layer(model, how.space.layer, images, _evaluated(model, how))
        threat, factor = in_units_of(origins, how.threat, how.space.unit)
        scaled = replace(how, threat=threat, step_size=how.length * factor)
        found = _search(model, images, origins, labels, scaled, head, generator, whole=True)
    return FeatureShift(images, how.space.layer, found - origins)


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


def _evaluated(model: Model, how: Perturbation) -> Callable[[Tensor], Tensor]:
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


def _at_boundary(
    model: Model, images: Images, found: Images, labels: Labels | None, bisection_steps: int
) -> Images:
    """Return the nearest wrong point on the way to each newly wrong one; other images as given."""
    known = _needed(labels, images, "bisection_steps")

    def lost(points: Images) -> Tensor:
        return wrong(outcomes_of(model, points), known)

    with torch.no_grad():
        near = nearest_crossing(found, images, lost, bisection_steps)
        return torch.where(spread(lost(found) & ~lost(images), images), near, images)


def _lost(labels: Labels | None, images: Images) -> Callable[[Evaluated, Tensor], Tensor]:
    known = _needed(labels, images, "until-boundary")
    return lambda evaluated, rows: predicted(evaluated.outcomes) != known[rows]


def _needed(labels: Labels | None, images: Images, what: str) -> Labels:
    if labels is None:
        raise ValueError(f"{what!r} needs `labels`; found None")
    return checked_labels(labels, images)
