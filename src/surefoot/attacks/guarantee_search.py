"""Break any guarantee: minimise its margins until every alternative is broken.

One search for every guarantee and every classifier, with or without "uncertain": Auto-PGD on smooth
and hard margins and on one outcome outside after the other, success = the margin is 0 or less. For
`Local` these are cross-entropy, margin and targeted Auto-PGD. A model without gradients is searched
by Square alone. Not here: attacks on votes (`attacks.vote_attack`).
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.apgd import random_starts, search
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import ByExample
from surefoot.attacks.result import AttackResult, Findings, legal
from surefoot.attacks.square import square_search
from surefoot.guarantees import Guarantee, check_model, containing
from surefoot.models.border import has_gradient
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import AnyLabels, Images, Model, Sets, checked_labels, rejects

MOST_TARGETS = 9
QUERIES = 50
"""Queries of Square for each step, where there is no gradient: 5,000 for 100 steps."""


def break_guarantee(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    threat: Threat,
    labels: AnyLabels | None = None,
    seed: int = 0,
    steps: int = 100,
    batch_size: int = 250,
) -> AttackResult:
    """Search for images at which the guarantee fails.

    An example is broken when each of its available alternatives has a counterexample, perhaps each
    another one. An example without an available alternative claims nothing and counts as broken.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        guarantee: what must not change.
        threat: ball and box.
        labels: if given, only alternatives that contain the label are attacked; the others claim
            nothing about being right.
        seed: of the random starts, one stream an example: results do not depend on `batch_size`,
            save where rounding decides.
        steps: iterations of each search; a model without gradients gets `QUERIES` times as many
            queries of Square.
        batch_size: images in one pass.

    Returns:
        the result with `counterexamples` and `broken`.
    """
    images = threat.origins(images)
    check_model(guarantee, model)
    with frozen(model):
        counted = Counted(model)
        outcomes = torch.cat([counted(part) for part in images.split(batch_size)])
    sets = guarantee.sets(outcomes)
    if labels is not None:
        labels = checked_labels(labels, images, outcomes.shape[1] - rejects(model))
        sets = containing(sets, labels)
    return break_sets(
        model, images, sets, guarantee, threat, seed=seed, steps=steps, batch_size=batch_size
    )


def break_sets(
    model: Model,
    images: Images,
    sets: Sets,
    guarantee: Guarantee,
    threat: Threat,
    *,
    seed: int = 0,
    steps: int = 100,
    batch_size: int = 250,
) -> AttackResult:
    """Break given alternatives under the guarantee's quantifier: the core of `break_guarantee`.

    All open pairs (example, alternative) form one pool; each objective goes over what is left of it
    in full batches, so leftovers merge.
    """
    if steps < 1 or batch_size < 1:
        raise ValueError(f"need steps >= 1 and batch_size >= 1; found {steps} and {batch_size}")
    began = time.perf_counter()
    with frozen(model):
        counted = Counted(model)
        findings = Findings.of(images, sets)
        every_pair = torch.arange(len(findings.origins), device=images.device)
        outcomes = [counted(part) for part in findings.origins.split(batch_size)]
        clean = torch.cat(outcomes) if outcomes else images.new_zeros(0, sets.shape[2])
        holds = guarantee.margins(clean, findings.sets).squeeze(1) > 0
        findings.note(~holds, findings.origins, "clean", every_pair)
        black_box = len(clean) > 0 and not has_gradient(model, findings.origins)
        goals = [_SQUARE] if black_box else _goals(guarantee, sets.shape[2])
        for stream, goal in enumerate(goals):
            for part in findings.open_parts(batch_size, goal.others):
                origins, members, start = findings.origins[part], findings.sets[part], clean[part]

                def margins(out: Tensor, rows: Tensor, m: Tensor = members) -> Tensor:
                    return guarantee.margins(out, m[rows]).squeeze(1)

                with counted.charging(goal.name) as cost:
                    if goal is _SQUARE:
                        there = _without_gradients(counted, margins, origins, threat, steps, seed)
                    else:
                        there = search(
                            counted,
                            lambda out, rows, g=goal, m=members, c=start: g.climb(
                                out, m[rows], c[rows]
                            ),
                            lambda out, rows, margins=margins: margins(out, rows) <= 0,
                            random_starts(origins, threat, seed, stream),
                            origins,
                            threat=threat,
                            steps=steps,
                        ).images
                    margin = guarantee.margins(counted(there), members).squeeze(1)
                    proven = (margin <= 0) & legal(threat, there, origins)
                    cost.found += findings.note(proven, there, goal.name, part)
    return findings.result(images, sets, counted, time.perf_counter() - began)


def _without_gradients(
    counted: Counted,
    margins: Callable[[Tensor, Tensor], Tensor],
    origins: Images,
    threat: Threat,
    steps: int,
    seed: int,
) -> Images:
    """Minimise the margins by Square, and settle what it found inside the threat."""
    found = square_search(
        lambda images, rows: margins(counted(images), rows),
        origins,
        ByExample.of(origins, seed),
        threat=threat,
        queries=QUERIES * steps,
    )
    return threat.project(found.images, origins)


class _Goal(NamedTuple):
    """What one search climbs, for sets that leave out at least so many outcomes."""

    name: str
    others: int
    climb: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(outcomes `[b, O]`, sets `[b, 1, O]`, clean outcomes `[b, O]`) -> `[b]`"""


_SQUARE = _Goal("square", 1, lambda out, sets, clean: out)


def _goals(guarantee: Guarantee, outcomes: int) -> Iterator[_Goal]:
    """Yield goals from the cheapest and most fruitful on.

    With one outcome outside the targeted goal is the margin again: targets ask for two.
    """
    every = guarantee.quantifier == "every"
    yield _Goal("apgd-soft", 1, lambda out, sets, _: _soft_lead(out, sets[:, 0], every))
    yield _Goal("apgd-margin", 1, lambda out, sets, _: -guarantee.margins(out, sets)[:, 0])
    for rank in range(1, min(MOST_TARGETS + 1, outcomes)):
        yield _Goal(
            f"apgd-target-{rank}",
            max(rank, 2),
            lambda out, sets, clean, rank=rank: _lead(out, sets[:, 0], clean, every, rank),
        )


def _soft_lead(outcomes: Tensor, sets: Tensor, every: bool) -> Tensor:
    r"""Return $\mathrm{LSE}_{i \notin S} f_i - m(f_S)$, m a soft minimum (every) or maximum (some).

    For one member it is a monotone function of the cross-entropy, so the steepest steps agree.
    """
    outside = outcomes.masked_fill(sets, -torch.inf).logsumexp(1)
    if every:
        return outside + (-outcomes).masked_fill(~sets, -torch.inf).logsumexp(1)
    return outside - outcomes.masked_fill(~sets, -torch.inf).logsumexp(1)


def _lead(outcomes: Tensor, sets: Tensor, clean: Tensor, every: bool, rank: int) -> Tensor:
    """Return the lead over the set of the outcome outside that has this rank at the clean image."""
    order = clean.masked_fill(sets, -torch.inf).argsort(1, descending=True)
    target = outcomes.gather(1, order[:, rank - 1 : rank]).squeeze(1)
    if every:
        return target - outcomes.masked_fill(~sets, torch.inf).amin(1)
    return target - outcomes.masked_fill(~sets, -torch.inf).amax(1)
