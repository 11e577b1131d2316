"""Certificates from linear relaxations: of any plain net, at linf and l2, for every guarantee."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from surefoot.certify.certificates import Certificates
from surefoot.certify.lipschitz.constants import opened
from surefoot.certify.lipschitz.rounding import unit_of
from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.checked_net import check_runs_alike, relaxed_net_of
from surefoot.certify.relaxation.guarantee_splitting import problem_of
from surefoot.certify.relaxation.input_set import input_set_of
from surefoot.certify.relaxation.rejections import (
    Acceptance,
    holding,
    opened_rejection,
    pairs_for,
)
from surefoot.certify.relaxation.relaxed_net import RelaxedNet
from surefoot.certify.relaxation.splitting import Search
from surefoot.certify.relaxation.substitution import BATCH, Bounds
from surefoot.certify.relaxation.substitution import Effort as BoundsEffort
from surefoot.guarantees import Guarantee, check_model
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, dtype_of, frozen
from surefoot.threat import Threat
from surefoot.types import Images, Model, Sets, checked_images

BISECTION_STEPS = 12
Effort = Literal["ibp", "crown", "alpha-crown", "branch-and-bound"]
STAGES: dict[Effort, tuple[BoundsEffort, ...]] = {
    "ibp": ("ibp",),
    "crown": ("crown",),
    "alpha-crown": ("crown", "alpha-crown"),
    "branch-and-bound": ("crown", "alpha-crown"),
}
"""Efforts that are tried one after the other, each on the images that are undecided by then."""


@dataclass
class _Question:
    """What is to be proven of a net.

    Args:
        model: as it runs, with its rejection.
        net: of its logits, with relaxations.
        guarantee: what must not change.
        acceptance: of a net that rejects.
        threat: norm and box.
        effort: of the bounds.
        unit: of the arithmetic in which the net runs.
        deadline: time after which nothing new is started.
        rounds: of decisions that are still to come: they share the time.
    """

    model: Model
    net: RelaxedNet
    guarantee: Guarantee
    acceptance: Acceptance | None
    threat: Threat
    effort: Effort
    unit: float
    deadline: float
    rounds: int


def certify(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    threat: Threat,
    radii: Sequence[float] | None = None,
    effort: Effort = "crown",
    seconds: float | None = None,
    sets: Sets | None = None,
) -> Certificates:
    """Certify radii of each alternative by bounds on the logits in the whole ball.

    Args:
        model: of layers that relaxations know (`register` adds more); or `Selective` (least
            confidence, entropy) or `LogitMarginSelective` around one. It is certified as it runs,
            with the rounding of its arithmetic.
        images: inside the box; they take the precision of the weights.
        guarantee: what must not change.
        threat: norm and box; `eps` is where the search for the largest radius starts.
        radii: decide these alone; None: search the largest one in 12 steps.
        effort: "ibp" propagates intervals; "crown" substitutes lines back to the images;
            "alpha-crown" optimises the slopes of the lines for what is undecided by then, at tens
            of times the cost; "branch-and-bound" then splits the balls, until `seconds` are over.
        seconds: start nothing new after so long; what is not proven by then has radius 0.
        sets: alternatives that were chosen before; None: those of the guarantee at the images.

    Returns:
        certificates in the norm of the threat; each radius was proven as it stands. With given
        radii it is the largest of them that was proven.

    Raises:
        ValueError: a layer or a rejection that relaxations do not know; it is named.

    Reference: Gowal et al. 2018 (IBP); Zhang et al. 2018 (CROWN); Xu et al. 2021 (slopes); Bunel et
    al. 2020, Wang et al. 2018 (branch and bound); guarantees for sets and for nets
    that reject derived here.
    """
    _check(guarantee, model, radii, effort, seconds)
    if radii is None and not threat.eps > 0:
        raise ValueError("the search for radii starts at `threat.eps`, which must be above 0")
    began = time.monotonic()
    images = checked_images(images, threat.low, threat.high)
    inner, acceptance = opened_rejection(model)
    net = opened(inner)
    images = images.to(dtype_of(net)).contiguous().as_subclass(Tensor)
    with torch.no_grad(), frozen(net):
        if sets is None:
            sets = guarantee.sets(outcomes_of(model, images))
        relaxed = relaxed_net_of(net, images)
        many = BISECTION_STEPS if radii is None else len({one for one in radii if one > 0})
        question = _Question(
            model,
            relaxed,
            guarantee,
            acceptance,
            threat,
            effort,
            unit_of(images),
            began + (torch.inf if seconds is None else seconds),
            many * -(-len(images) // BATCH),
        )
        check_runs_alike(relaxed, inner, images, question.unit, threat)
        found = [
            _searched(question, part, chosen)
            if radii is None
            else _decided(question, part, chosen, radii)
            for part, chosen in zip(images.split(BATCH), sets.split(BATCH), strict=True)
        ]
    samples = torch.zeros(len(images), dtype=torch.long)
    return Certificates(torch.cat(found), sets, samples, _details(question), threat.norm)


def hidden_numbers(model: Model, images: Images) -> int:
    """Count the numbers that lines are needed for, of one image: what relaxations cost grows so.

    Raises:
        ValueError: relaxations do not know the net.
    """
    net = opened(opened_rejection(model)[0])
    with torch.no_grad(), frozen(net):
        relaxed = relaxed_net_of(net, images.to(device_of(net), dtype_of(net)))
    steps = relaxed.graph.steps
    bent = [step for step in steps if not isinstance(relaxed.rules[step.name], Affine)]
    return sum(math.prod(step.shape or ()) for step in bent)


def _check(
    guarantee: Guarantee,
    model: Model,
    radii: Sequence[float] | None,
    effort: Effort,
    seconds: float | None,
) -> None:
    check_model(guarantee, model)
    if effort not in get_args(Effort):
        raise ValueError(f"`effort` must be one of {', '.join(get_args(Effort))}; found {effort!r}")
    if effort == "branch-and-bound" and seconds is None:
        raise ValueError(
            "branch and bound goes on until all is decided, which may take for ever: give `seconds`"
            " for all images together, such as 2 for each"
        )
    if seconds is not None and not seconds > 0:
        raise ValueError(f"`seconds` must be above 0, or None for no limit; found {seconds}")
    if radii is not None and not all(0 <= radius < torch.inf for radius in radii):
        raise ValueError(f"`radii` must be finite and at least 0; found {list(radii)}")
    if guarantee.set_valued and getattr(model, "rejects", False):
        raise ValueError(
            f"{type(guarantee).__name__} of a net that rejects has no certificate by relaxation:"
            " take local or label-or-uncertain, or certify the net without its rejection"
        )


def _decided(question: _Question, images: Images, sets: Sets, radii: Sequence[float]) -> Tensor:
    """Return the largest of some radii that is proven for each alternative, `[B, A]`."""
    found = torch.zeros(sets.shape[:2], dtype=torch.float64, device=images.device)
    left = sets.any(2).any(1)
    for radius in sorted(radius for radius in set(radii) if radius > 0):
        if not bool(left.any()):
            break
        eps = torch.full((len(images),), float(radius), dtype=torch.float64, device=images.device)
        holds = _proven(question, images, sets, eps, left)
        found = torch.where(holds, radius, found)
        left = left & holds.any(1)
    return found


def _searched(question: _Question, images: Images, sets: Sets) -> Tensor:
    """Search the largest radius that is proven for each alternative: double, then bisect."""
    found = torch.zeros(sets.shape[:2], dtype=torch.float64, device=images.device)
    left = sets.any(2).any(1)
    start = float(question.threat.eps)
    eps = torch.full((len(images),), start, dtype=torch.float64, device=images.device)
    low, high = torch.zeros_like(eps), torch.full_like(eps, torch.inf)
    for _ in range(BISECTION_STEPS):
        holds = _proven(question, images, sets, eps, left)
        found = torch.where(holds, torch.maximum(found, eps.unsqueeze(1)), found)
        good = holds.any(1)
        low, high = torch.where(good, eps, low), torch.where(good, high, eps)
        eps = torch.where(high.isinf(), 2 * low, (low + high) / 2)
    return found


def _proven(question: _Question, images: Images, sets: Sets, eps: Tensor, left: Tensor) -> Tensor:
    """Return which alternatives hold in the ball of each image that is left, `[B, A]`."""
    proven = torch.zeros(sets.shape[:2], dtype=torch.bool, device=images.device)
    question.rounds -= 1
    for effort in STAGES[question.effort]:
        rows = (left & ~proven.any(1)).nonzero().flatten()
        for part in rows.split(BATCH if effort in ("ibp", "crown") else 1):
            if len(part) and time.monotonic() <= question.deadline:
                proven[part] |= _bounded(question, images[part], sets[part], eps[part], effort)
    if question.effort == "branch-and-bound":
        rows = (left & ~proven.any(1)).nonzero().flatten().tolist()
        for place, row in enumerate(rows):
            now, here = time.monotonic(), slice(row, row + 1)
            share = (question.deadline - now) / (question.rounds + 1) / (len(rows) - place)
            if share > 0:
                proven[row] = _split(question, images[here], sets[here], eps[here], now + share)
    return proven


def _bounded(
    question: _Question, images: Images, sets: Sets, eps: Tensor, effort: BoundsEffort
) -> Tensor:
    """Return which alternatives the bounds of the balls prove, `[B, A]`."""
    region = input_set_of(images, eps, question.threat)
    bounds = Bounds(question.net, region, question.unit, effort)
    logits = bounds.known[question.net.graph.result]
    classes = logits.lower.shape[1]
    error = _error(question, torch.maximum(logits.lower.abs(), logits.upper.abs()).amax(1))
    found = torch.zeros(sets.shape[:2], dtype=torch.bool, device=images.device)
    margins = torch.full((len(images), classes, classes), -torch.inf, dtype=torch.float64)
    margins = margins.to(images.device)
    for wanted in pairs_for(sets, question.guarantee, question.acceptance, classes):
        undecided = ~found.any(1)
        new = wanted & undecided.view(-1, 1, 1) & margins.isinf()
        margins = torch.maximum(margins, bounds.margins(new))
        found |= holding(margins, sets, question.guarantee, question.acceptance, error)
    return found & bounds.usable.unsqueeze(1)


def _split(question: _Question, image: Images, sets: Sets, eps: Tensor, deadline: float) -> Tensor:
    """Return which alternatives branch and bound proves of one image, `[A]`; it tries each."""
    region = input_set_of(image, eps, question.threat)
    logits = Bounds(question.net, region, question.unit, "ibp").known[question.net.graph.result]
    error = _error(question, torch.maximum(logits.lower.abs(), logits.upper.abs()).amax(1))
    found = torch.zeros(sets.shape[1], dtype=torch.bool, device=image.device)
    there = sets[0].any(1).nonzero().flatten().tolist()
    for place, alternative in enumerate(there):
        chosen = sets[:, alternative : alternative + 1]
        classes = logits.lower.shape[1]
        problem = problem_of(
            question.model, question.guarantee, question.acceptance, chosen, error, classes
        )
        if len(problem.rows) == 0:  # "uncertain" alone is not certified
            continue
        now = time.monotonic()
        share = now + (deadline - now) / (len(there) - place)
        search = Search(question.net, question.unit, region, problem)
        found[alternative] = search.run(share).proven
        if found.any():
            break
    return found


def _error(question: _Question, largest: Tensor) -> Tensor:
    """Bound what rounding may add to a comparison of logits, margins or scores, `[B]`."""
    acceptance: Any = question.acceptance
    if acceptance is None:
        return torch.zeros_like(largest)
    return question.unit * 64 * acceptance.scale(largest, question.net.graph.classes)


def _details(question: _Question) -> dict[str, Any]:
    precision = "float64" if question.unit < 2.0**-40 else "float32"
    layers = [
        type(step.layer).__name__ for step in question.net.graph.steps if step.layer is not None
    ]
    return {
        "method": "relaxation",
        "effort": question.effort,
        "arithmetic": precision,
        "layers": layers,
    }
