"""AutoAttack, to the letter: Auto-PGD, FAB and Square in turn on what still stands.

Croce, Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", with the settings of its reference implementation. By default each example
has its own random stream; `streams="batch"` draws as the reference does, for comparisons.
"""

import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.apgd import Found, on_surface, search
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import ByBatch, ByExample, Draws
from surefoot.attacks.fab import MOST_TARGETS, fab_search, fab_start, nearest, towards
from surefoot.attacks.objectives import cross_entropy, dlr, targeted_dlr, wrong
from surefoot.attacks.result import AttackResult
from surefoot.attacks.square import square_search
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.types import Images, Labels, Model, check_images, check_labels, rejects

STEPS, QUERIES = 100, 5000
VERSIONS: dict[str, tuple[tuple[str, int], ...]] = {
    "standard": (("apgd-ce", 1), ("apgd-t", 1), ("fab-t", 1), ("square", 1)),
    "plus": (
        ("apgd-ce", 5),
        ("apgd-dlr", 5),
        ("fab", 5),
        ("square", 1),
        ("apgd-t", 1),
        ("fab-t", 1),
    ),
    "fast": (("apgd-ce", 1), ("apgd-t", 1)),
}
"""Attacks in their order, with restarts. "fast" is not AutoAttack."""


class Batch(NamedTuple):
    """What an attack gets: examples that stood so far, and their random numbers."""

    model: Counted
    images: Images
    labels: Labels
    threat: Threat
    draws: Draws


def autoattack(
    model: Model,
    images: Images,
    labels: Labels,
    *,
    threat: Threat,
    version: Literal["standard", "plus", "fast"] = "standard",
    seed: int = 0,
    batch_size: int = 250,
    streams: Literal["example", "batch"] = "example",
) -> AttackResult:
    """Run AutoAttack; every counterexample is projected into the threat and checked again.

    Works for any number of classes: below 3 (targeted: 4) the margin stands in for the difference
    of logits ratio, and there are min(9, C - 1) targets.

    Args:
        model: maps images to logits.
        images: origins, inside the box.
        labels: true labels; misclassified images are broken already.
        threat: ball and box.
        version: "standard", "plus", or "fast" (Auto-PGD alone: not AutoAttack).
        seed: of all random numbers.
        batch_size: images in one pass; verdicts do not depend on it with streams "example".
        streams: "batch" draws as the reference implementation.

    Returns:
        the result; `by` names the attack that broke the example.
    """
    check_images(images, threat.low, threat.high)
    if rejects(model):
        raise ValueError("AutoAttack knows no abstention: use break_guarantee(LabelOrUncertain())")
    if version not in VERSIONS:
        raise ValueError(f"`version` must be one of {', '.join(VERSIONS)}; found {version!r}")
    began = time.perf_counter()
    result, by = images.clone(), [""] * len(images)
    with frozen(model):
        counted = Counted(model)
        clean = torch.cat([counted(part) for part in images.split(batch_size)])
        check_labels(labels, images, clean.shape[1])
        standing = ~wrong(clean, labels)
        by = ["" if stands else "clean" for stands in standing.tolist()]
        for place, (name, restarts) in enumerate(VERSIONS[version]):
            rows = standing.nonzero().flatten()
            for part in rows.split(batch_size) if len(rows) else ():
                draws = ByBatch.of(seed)
                if streams == "example":
                    draws = ByExample.of(images[part], seed, place)
                batch = Batch(counted, images[part], labels[part], threat, draws)
                found = _run(batch, name, restarts)
                settled = threat.project(found.images, batch.images)
                broken = wrong(counted(settled), batch.labels)
                result[part[broken]] = settled[broken]
                standing[part[broken]] = False
                for row in part[broken].tolist():
                    by[row] = name
    seconds = time.perf_counter() - began
    broken = ~standing
    return AttackResult(
        result,
        broken,
        by,
        counted.forwards,
        counted.backwards,
        seconds,
        result.unsqueeze(1),
        broken.unsqueeze(1),
    )


def _run(batch: Batch, name: str, restarts: int) -> Found:
    """Run one attack of the ensemble: searches in turn, each on what the last ones left."""
    if name == "square":
        return square_search(
            batch.model,
            batch.images,
            batch.labels,
            batch.draws,
            threat=batch.threat,
            queries=QUERIES,
        )
    images, success = batch.images.clone(), torch.zeros_like(batch.labels, dtype=torch.bool)
    for one in _searches(name, restarts, batch):
        rows = (~success).nonzero().flatten()
        if len(rows) == 0:
            break
        found = one(rows)
        images[rows] = torch.where(spread(found.success, found.images), found.images, images[rows])
        success[rows] = found.success
    return Found(images, success)


def _searches(name: str, restarts: int, batch: Batch) -> Iterator[Callable[[Tensor], Found]]:
    """Yield searches over the rows that are left."""
    if not name.endswith("-t"):
        for restart in range(restarts):
            if name == "fab":
                yield lambda rows, restart=restart: _fab(batch, rows, None, restart)
            else:
                loss = cross_entropy if name == "apgd-ce" else dlr
                yield lambda rows, loss=loss: _apgd(
                    batch, rows, lambda out, own: loss(out, batch.labels[own])
                )
        return
    with torch.no_grad():
        order = batch.model(batch.images).sort(dim=1).indices
    for rank in range(2, min(MOST_TARGETS, order.shape[1] - 1) + 2):
        targets = order[:, -rank]
        if name == "fab-t":
            yield lambda rows, targets=targets: _fab(batch, rows, targets, 0)
        else:
            yield lambda rows, targets=targets: _apgd(
                batch, rows, lambda out, own: targeted_dlr(out, batch.labels[own], targets[own])
            )


def _apgd(batch: Batch, rows: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Found:
    origins, labels = batch.images[rows], batch.labels[rows]
    return search(
        batch.model,
        lambda out, own: loss(out, rows[own]),
        lambda out, own: wrong(out, labels[own]),
        on_surface(origins, batch.threat, batch.draws, rows),
        origins,
        threat=batch.threat,
        steps=STEPS,
    )


def _fab(batch: Batch, rows: Tensor, targets: Tensor | None, restart: int) -> Found:
    origins, labels = batch.images[rows], batch.labels[rows]
    start = origins if restart == 0 else fab_start(origins, batch.threat, batch.draws, rows)
    linearise = (
        nearest(batch.model, labels, batch.threat)
        if targets is None
        else towards(batch.model, labels, targets[rows])
    )
    return fab_search(
        batch.model, linearise, start, origins, labels, threat=batch.threat, steps=STEPS
    )
