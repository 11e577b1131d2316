"""AutoAttack, to the letter: Auto-PGD, FAB and Square in turn on what is not broken yet.

Croce, Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", with the settings of its reference implementation. By default each example
has its own random stream; `streams="batch"` draws as the reference does, for comparisons.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.apgd import Found, on_surface, search
from surefoot.attacks.attack_warnings import black_box_wins, blind_gradients
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import ByBatch, ByExample, Draws
from surefoot.attacks.fab import MOST_TARGETS, fab_search, fab_start, nearest, towards
from surefoot.attacks.objectives import cross_entropy, cw, dlr, targeted_dlr, wrong
from surefoot.attacks.result import AttackResult
from surefoot.attacks.square import of_labels, square_search
from surefoot.attacks.vote_attack import CHOOSE, VoteSearch, vote_fails
from surefoot.guarantees import Local
from surefoot.models.border import check_rows
from surefoot.models.frozen import frozen
from surefoot.progress import track
from surefoot.streams import own_randomness
from surefoot.threat import Threat
from surefoot.types import AnyLabels, Flags, Images, Labels, Model, checked_labels, rejects
from surefoot.uncertainty.vote import Vote

STEPS, QUERIES = 100, 5000
DRAWS = 20
"""Draws that "rand" averages each gradient over."""
CLEAR_LEAD = 0.5
"""Fraction of those draws by which another class must lead before a search may stop."""
Version = Literal["standard", "plus", "rand", "fast"]
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
    "rand": (("apgd-ce", 1), ("apgd-dlr", 1)),
    "fast": (("apgd-ce", 1), ("apgd-t", 1)),
}
"""Attacks in their order, with restarts. "fast" is not AutoAttack."""

Judge = Callable[[Tensor, Tensor], Tensor]
"""(images, labels) -> is the answer wrong, `[b]`."""


class Part(NamedTuple):
    """What an attack gets: examples not broken so far, and their random numbers."""

    model: Counted
    images: Images
    labels: Labels
    threat: Threat
    draws: Draws
    batch_size: int


def autoattack(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    version: Version = "standard",
    seed: int = 0,
    batch_size: int = 250,
    streams: Literal["example", "batch"] = "example",
    how: VoteSearch | None = None,
) -> AttackResult:
    """Run AutoAttack; every counterexample is projected into the threat and checked again.

    Works for any number of classes: below 3 (targeted: 4) `cw` stands in for the difference
    of logits ratio, and there are min(9, C - 1) targets. What an attack does not break is cut into
    full batches anew for the next search.

    "rand" is for models that answer at random: gradients are means over 20 draws, and an image is
    broken only if the vote of fresh draws is wrong at level `how.alpha` (one lucky draw is no
    counterexample). Images whose vote is wrong at the start, in `how.n_choose` draws, are broken by
    "clean".

    Args:
        model: maps images to logits.
        images: origins, inside the box.
        labels: true labels; misclassified images are broken already.
        threat: ball and box.
        version: "standard", "plus", "rand", or "fast" (Auto-PGD alone: not AutoAttack).
        seed: of all random numbers.
        batch_size: images in one pass; verdicts do not depend on it with streams "example", save
            where rounding decides, or the model's own randomness ("rand").
        streams: "batch" draws as the reference implementation, in whole batches.
        how: numbers of draws and level of the votes of "rand".

    Returns:
        the result; `by` names the attack that broke the example.
    """
    images = threat.origins(images)
    if rejects(model):
        raise ValueError("AutoAttack knows no abstention: use break_guarantee(LabelOrUncertain())")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1; found {batch_size}")
    if version not in VERSIONS:
        raise ValueError(f"`version` must be one of {', '.join(VERSIONS)}; found {version!r}")
    began = time.perf_counter()
    rand = version == "rand"
    if rand:
        check_rows(model, images)
    with frozen(model), own_randomness(seed):
        counted = Counted(model, whole=streams == "batch", draws=DRAWS if rand else 1)
        clean = _answers(counted, images, batch_size)
        labels = checked_labels(labels, images, clean.shape[1])
        votes = _Votes(counted, clean.shape[1], _shared(how, version), seed) if rand else None
        failed = votes.wrong_at_the_start(images, labels) if votes else wrong(clean, labels)
        result, unbroken = images.clone(), ~failed
        by = ["" if there else "clean" for there in unbroken.tolist()]
        judge: Judge = votes.wrong if votes else lambda moved, own: wrong(counted(moved), own)
        for place, (name, restarts) in enumerate(VERSIONS[version]):
            rows = unbroken.nonzero().flatten()
            for part in _parts(rows, batch_size, streams):
                draws = ByBatch.of(seed)
                if streams == "example":
                    draws = ByExample.of(images[part], seed, place)
                job = Part(counted, images[part], labels[part], threat, draws, batch_size)
                with counted.charging(name) as cost:
                    settled = threat.project(_run(job, name, restarts), job.images)
                    broken = torch.cat(
                        [judge(*pair) for pair in _pairs(settled, job.labels, batch_size)]
                    )
                    cost.found += int(broken.sum())
                result[part[broken]] = settled[broken]
                unbroken[part[broken]] = False
                for row in part[broken].tolist():
                    by[row] = name
    broken = ~unbroken
    return AttackResult(
        result,
        broken,
        by,
        counted.forwards,
        counted.backwards,
        time.perf_counter() - began,
        result.unsqueeze(1),
        broken.unsqueeze(1),
        counted.costs,
        blind_gradients(counted.costs) + black_box_wins(counted.costs, len(images)),
    )


def _shared(how: VoteSearch | None, version: str) -> VoteSearch:
    """Return the settings of each test of an image: one an attack, and all share alpha."""
    how = how or VoteSearch()
    return replace(how, alpha=how.alpha / len(VERSIONS[version]))


def _answers(model: Counted, images: Images, batch_size: int) -> Tensor:
    return torch.cat([model(part) for part in images.split(batch_size)])


def _pairs(images: Images, labels: Labels, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(images.split(batch_size), labels.split(batch_size), strict=True)


def _parts(rows: Tensor, batch_size: int, streams: str) -> tuple[Tensor, ...]:
    """Cut into what shares random numbers: nothing, or a batch."""
    if len(rows) == 0:
        return ()
    return (rows,) if streams == "example" else rows.split(batch_size)


class _Votes:
    """How a model that answers at random is judged: by its vote, proven on fresh draws."""

    def __init__(self, model: Counted, classes: int, how: VoteSearch, seed: int) -> None:
        self.vote, self.classes, self.how, self.seed = Vote(model, 0.0), classes, how, seed

    def wrong_at_the_start(self, images: Images, labels: Labels) -> Flags:
        """Return where the label is not the winner of the vote."""
        counts = self.vote.counts(images, self.how.n_choose, CHOOSE, self.seed)
        return counts.table.argmax(1) != labels

    def wrong(self, images: Images, labels: Labels) -> Flags:
        """Return where another class certainly has more votes than the label."""
        own = torch.zeros(len(labels), 1, self.classes, dtype=torch.bool, device=labels.device)
        own.scatter_(2, labels.view(-1, 1, 1), True)
        return vote_fails(self.vote, images, own, Local(), self.how, self.seed)


def _run(part: Part, name: str, restarts: int) -> Images:
    """Run one attack of the ensemble: searches in turn, each on what the last ones left."""
    images, success = part.images.clone(), torch.zeros_like(part.labels, dtype=torch.bool)
    searches = list(_searches(name, restarts, part))
    for one in track(searches, name, len(searches)) if name != "square" else searches:
        left = (~success).nonzero().flatten()
        for rows in left.split(part.batch_size) if len(left) else ():
            found = one(rows)
            # An unproven end point is kept: a vote may still turn out wrong there.
            keep = found.success if part.model.draws == 1 else torch.ones_like(found.success)
            images[rows[keep]] = found.images[keep]
            success[rows] = found.success
    return images


def _searches(name: str, restarts: int, part: Part) -> Iterator[Callable[[Tensor], Found]]:
    """Yield searches over the rows that are left."""
    if name == "square":
        yield lambda rows: square_search(
            of_labels(part.model, part.labels[rows]),
            part.images[rows],
            part.draws.only(rows),
            threat=part.threat,
            queries=QUERIES,
        )
        return
    if not name.endswith("-t"):
        for restart in range(restarts):
            if name == "fab":
                yield lambda rows, restart=restart: _fab(part, rows, None, restart)
            else:
                loss = cross_entropy if name == "apgd-ce" else dlr
                yield lambda rows, loss=loss: _apgd(
                    part, rows, lambda out, own: loss(out, part.labels[own])
                )
        return
    order = _answers(part.model, part.images, part.batch_size).sort(dim=1).indices
    for rank in range(2, min(MOST_TARGETS, order.shape[1] - 1) + 2):
        targets = order[:, -rank]
        if name == "fab-t":
            yield lambda rows, targets=targets: _fab(part, rows, targets, 0)
        else:
            yield lambda rows, targets=targets: _apgd(
                part, rows, lambda out, own: targeted_dlr(out, part.labels[own], targets[own])
            )


def _apgd(part: Part, rows: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Found:
    origins, labels = part.images[rows], part.labels[rows]
    failed = wrong if part.model.draws == 1 else _clearly_wrong
    return search(
        part.model,
        lambda out, own: loss(out, rows[own]),
        lambda out, own: failed(out, labels[own]),
        on_surface(origins, part.threat, part.draws, rows),
        origins,
        threat=part.threat,
        steps=STEPS,
    )


def _clearly_wrong(votes: Tensor, labels: Labels) -> Flags:
    """Return where another class leads by so many votes that a fresh vote should agree."""
    return (cw(votes, labels) >= CLEAR_LEAD) | ~votes.isfinite().all(1)


def _fab(part: Part, rows: Tensor, targets: Tensor | None, restart: int) -> Found:
    origins, labels = part.images[rows], part.labels[rows]
    start = origins if restart == 0 else fab_start(origins, part.threat, part.draws, rows)
    linearise = (
        nearest(part.model, labels, part.threat)
        if targets is None
        else towards(part.model, labels, targets[rows])
    )
    return fab_search(
        part.model, linearise, start, origins, labels, threat=part.threat, steps=STEPS
    )
