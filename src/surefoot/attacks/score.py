"""Attacks on the uncertainty itself: make the model look unsure of images, or sure of OOD inputs.

`raise_score` is the direction of uncertainty driven perturbations (Pagliardini et al. 2022), run to
the maximum; `lower_score` makes images that a detector should refuse look certain (Stutz et al.
2020; Ledda et al. 2023). Whether the label is right plays no part.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.apgd import random_starts, search
from surefoot.attacks.counted import Counted
from surefoot.attacks.objectives import SATURATED_GAP, entropy
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import Images, Model, Outcomes, PerExample, rejects
from surefoot.uncertainty.scores import SCORES
from surefoot.uncertainty.selective import NAMES, check_score, scored

TARGETS = 3
"""Classes that `lower_score` tries to make certain, most likely first."""


def raise_score(
    model: Model,
    images: Images,
    *,
    threat: Threat,
    score: str = "entropy",
    steps: int = 100,
    seed: int = 0,
    batch_size: int = 250,
) -> Images:
    """Look for the least certain image within the threat, by Auto-PGD on the score.

    Args:
        model: maps images to outcomes; the column "uncertain" takes no part.
        images: origins, inside the box.
        threat: ball and box.
        score: of the logits, or one that the model gives itself, as for `Selective`.
        steps: of the search.
        seed: of the random starts, one stream an example.
        batch_size: images in one pass; results do not depend on it.

    Returns:
        images inside the threat; the original where nothing less certain was found.
    """
    climb = _climb_of(score)
    goals: list[Goal] = [lambda out, _: climb(out)]
    if score not in SCORES:  # where the members agree entirely, only the entropy shows the way
        goals.append(lambda out, _: entropy(_logits(out, score)))
    return _push(model, images, goals, _Search(threat, score, 1.0, steps, seed, batch_size))


def lower_score(
    model: Model,
    images: Images,
    *,
    threat: Threat,
    score: str = "entropy",
    steps: int = 100,
    seed: int = 0,
    batch_size: int = 250,
) -> Images:
    """Look for the most certain image within the threat: on the score and on single
    classes.

    A score may be flat where no class stands out; the log-odds of the most likely classes are not.

    Args:
        model: maps images to outcomes; the column "uncertain" takes no part.
        images: origins, inside the box.
        threat: ball and box.
        score: of the logits, or one that the model gives itself, as for `Selective`.
        steps: of each search.
        seed: of the random starts, one stream an example.
        batch_size: images in one pass; results do not depend on it.

    Returns:
        images inside the threat; the original where nothing more certain was found.
    """
    climb = _climb_of(score)
    goals: list[Goal] = [lambda out, _: -climb(out)]
    goals += [
        lambda out, clean, r=rank: log_odds(_logits(out, score), _ranked(_logits(clean, score), r))
        for rank in range(TARGETS)
    ]
    return _push(model, images, goals, _Search(threat, score, -1.0, steps, seed, batch_size))


Goal = Callable[[Tensor, Tensor], Tensor]
"""(answers `[b, C]`, clean answers `[b, C]`) -> what is climbed `[b]`."""


def log_odds(logits: Outcomes, targets: Tensor) -> PerExample:
    r"""Return $\log \frac{p_t}{1 - p_t}$, whose gradient never vanishes."""
    own = targets.unsqueeze(1)
    others = logits.scatter(1, own, -torch.inf).logsumexp(1)
    return logits.gather(1, own).squeeze(1) - others


def _ranked(clean: Tensor, rank: int) -> Tensor:
    return clean.argsort(1, descending=True)[:, min(rank, clean.shape[1] - 1)]


def _asked(model: Model, score: str) -> Callable[[Tensor], Tensor]:
    """Return what is asked about images: logits, and behind them a score that the model gives."""
    if score in SCORES:
        classes = -1 if rejects(model) else None
        return lambda images: outcomes_of(model, images)[:, :classes]
    check_score(model, score)

    def both(images: Tensor) -> Tensor:
        logits, scores = scored(model, images, score)
        return torch.cat([logits, scores.unsqueeze(1)], 1)

    return both


def _logits(answers: Tensor, score: str) -> Tensor:
    return answers if score in SCORES else answers[:, :-1]


def _measure(answers: Tensor, score: str) -> Tensor:
    return SCORES[score](answers) if score in SCORES else answers[:, -1]


def _climb_of(score: str) -> Callable[[Tensor], Tensor]:
    """Return a function that rises with the score and keeps a gradient where the score is flat."""
    climbs = {
        "entropy": entropy,
        "least-confidence": lambda logits: -log_odds(logits, logits.argmax(1)),
        "margin-uncertainty": _margin,
        "vacuity-exp": SCORES["energy"],  # the same order, and never flat
    }
    if score not in NAMES:
        raise ValueError(f"`score` must be one of {', '.join(NAMES)}; found {score!r}")
    return climbs.get(score, lambda answers: _measure(answers, score))


def _margin(logits: Tensor) -> Tensor:
    best = logits.topk(2, dim=1).values
    lead = best[:, 0] - best[:, 1]
    return torch.where(lead > SATURATED_GAP, -lead, SCORES["margin-uncertainty"](logits))


class _Search(NamedTuple):
    threat: Threat
    score: str
    sign: float  # 1: the largest score; -1: the smallest
    steps: int
    seed: int
    batch_size: int


def _push(model: Model, images: Images, goals: list[Goal], how: _Search) -> Images:
    """Keep the image of the largest or smallest score that any goal leads to."""
    threat, score, sign, steps, seed, batch_size = how
    images = threat.origins(images)
    if steps < 1 or batch_size < 1:
        raise ValueError(f"need steps >= 1 and batch_size >= 1; found {steps} and {batch_size}")
    result = images.clone()
    with frozen(model):
        counted = Counted(_asked(model, score), raw=True)
        for rows in torch.arange(len(images), device=images.device).split(batch_size):
            origins = images[rows]
            clean = counted(origins)
            best = sign * _measure(clean, score)
            for stream, goal in enumerate(goals):
                found = search(
                    counted,
                    lambda out, own, g=goal, c=clean: g(out, c[own]),
                    lambda out, own: torch.zeros_like(own, dtype=torch.bool),
                    random_starts(origins, threat, seed, stream),
                    origins,
                    threat=threat,
                    steps=steps,
                ).images
                reached = sign * _measure(counted(found), score)
                better = reached > best
                result[rows[better]], best = found[better], torch.fmax(best, reached)
    return result
