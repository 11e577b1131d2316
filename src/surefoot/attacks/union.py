"""Attacks from anywhere, joined: whatever proposes images may lower the upper bound.

A proposal counts only after it is checked here, so a faulty attack can cost time but no truth. Wrap
torchattacks, foolbox or ART in a function `(model, images, labels) -> images`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from surefoot.attacks.counted import Cost, Counted
from surefoot.attacks.objectives import wrong
from surefoot.attacks.result import AttackResult, legal
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import AnyLabels, Images, Model, checked_labels, rejects

Proposer = Callable[[Model, Tensor, Tensor], Tensor]


def union(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    attacks: Mapping[str, Proposer],
) -> AttackResult:
    """Run attacks one after the other, each on the images that still stand.

    Args:
        model: maps images to logits; on a selective classifier "uncertain" counts as not right.
        images: origins, inside the box.
        labels: true labels.
        threat: ball and box; proposals are projected into it before they are judged.
        attacks: name -> callable `(model, images, labels) -> images` of the same shape.

    Returns:
        the result; `forwards` counts the images that went through a module (through any other
        callable the checks alone), backward passes are not counted.

    Raises:
        ValueError: an attack returns another shape.
    """
    images = threat.origins(images)
    began = time.perf_counter()
    with frozen(model):
        counted = Counted(model)
        outcomes = counted(images)
        labels = checked_labels(labels, images, outcomes.shape[1] - rejects(model))
        result, unbroken = images.clone(), ~wrong(outcomes, labels)
        by = ["" if there else "clean" for there in unbroken.tolist()]
        for name, attack in attacks.items():
            rows = unbroken.nonzero().flatten()
            if len(rows) == 0:
                break
            origins, own = images[rows], labels[rows]
            # Copies and a mode of its own: an attack must not move or switch what judges it.
            with frozen(model), counted.charging(name) as cost, _watched(model, cost):
                proposal = attack(model, origins.clone(), own.clone())
            if proposal.shape != origins.shape:
                raise ValueError(
                    f"the attack {name!r} must return images {tuple(origins.shape)}; it returned"
                    f" {tuple(proposal.shape)}"
                )
            # NaN pixels become the original: they are no counterexample, whatever the model says.
            proposal = proposal.detach().to(origins)
            proposal = torch.where(proposal.isfinite(), proposal, origins)
            proposal = threat.project(proposal, origins)
            broken = wrong(counted(proposal), own) & legal(threat, proposal, origins)
            cost.found += int(broken.sum())
            result[rows[broken]], unbroken[rows[broken]] = proposal[broken], False
            for row in rows[broken].tolist():
                by[row] = name
    seconds, broken = time.perf_counter() - began, ~unbroken
    return AttackResult(
        result,
        broken,
        by,
        counted.forwards,
        0,
        seconds,
        result.unsqueeze(1),
        broken.unsqueeze(1),
        counted.costs,
    )


@contextmanager
def _watched(model: Model, cost: Cost) -> Iterator[None]:
    """Count the images that an attack from elsewhere sends through a module."""
    if not isinstance(model, nn.Module):
        yield
        return

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        cost.forwards += len(inputs[0]) if inputs else 0  # images named in the call are not seen

    handle = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
