"""FAB: walk along the linearised boundary towards the original image.

Croce, Hein 2020b, "Minimally distorted adversarial examples with a fast adaptive boundary attack",
in the version that AutoAttack runs; a search ends as soon as its distance is at most eps.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.attacks.apgd import Found
from surefoot.attacks.counted import Counted
from surefoot.attacks.draws import Draws, directions
from surefoot.attacks.hyperplane import to_hyperplane
from surefoot.attacks.objectives import wrong
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import AnyLabels, Images, Labels, Model, checked_labels

MOST_TARGETS = 9
MOST_ORIGINAL = 0.1
OVERSHOOT = 1.05
BACK = 0.9


class Plane(NamedTuple):
    """The linearised boundary at an image: the competitor's margin, and its gradient `[b, D]`."""

    lead: Tensor
    normal: Tensor


Linearise = Callable[[Images, Tensor], Plane]
"""(images, rows they belong to) -> the nearest linearised boundary."""


def towards(model: Counted, labels: Labels, targets: Labels) -> Linearise:
    """Linearise the boundary between label and target."""

    def plane(images: Images, rows: Tensor) -> Plane:
        def lead(outcomes: Tensor, rows: Tensor) -> Tensor:
            pair = torch.stack([targets[rows], labels[rows]], 1)
            competitor, own = outcomes.gather(1, pair).unbind(1)
            return competitor - own

        evaluated = model.evaluate(lead, images, rows)
        return Plane(evaluated.value, evaluated.gradient.flatten(1))

    return plane


def nearest(model: Counted, labels: Labels, threat: Threat) -> Linearise:
    """Linearise the boundaries to all classes and take the nearest: one backward pass a class."""
    dual = 1 if threat.norm == "linf" else 2

    def plane(images: Images, rows: Tensor) -> Plane:
        competitors = range(model(images[:1]).shape[1])
        found = [towards(model, labels, labels * 0 + c)(images, rows) for c in competitors]
        lead = torch.stack([one.lead for one in found])
        normal = torch.stack([one.normal for one in found])
        length = torch.linalg.vector_norm(normal, ord=dual, dim=2)
        distance = lead.abs() / (length + 1e-12)
        distance.scatter_(0, labels[rows].unsqueeze(0), torch.inf)
        closest, row = distance.argmin(0), torch.arange(len(rows), device=rows.device)
        return Plane(lead[closest, row], normal[closest, row])

    return plane


def fab_start(origins: Images, threat: Threat, draws: Draws, rows: Tensor) -> Images:
    """Return a random point at distance eps / 2."""
    noise = directions(draws, origins, threat.norm, rows)
    return (origins + threat.reach / 2 * noise).clamp(threat.low, threat.high)


def fab_search(
    model: Counted,
    linearise: Linearise,
    start: Images,
    origins: Images,
    labels: Labels,
    *,
    threat: Threat,
    steps: int,
) -> Found:
    """Look for a misclassified image within eps; examples leave as soon as theirs is close
    enough.

    Each step moves a mixture of the iterate and the original a little past the linearised
    boundary; a misclassified iterate is kept if it is the closest, and drawn back to the original.

    Returns:
        the closest misclassified image found (the original where none), and whether it is in reach.
    """
    threat = threat.walled(origins)
    rows = torch.arange(len(start), device=start.device)
    best, distances = origins.clone(), torch.full_like(rows, torch.inf, dtype=torch.float64)
    # What still searches is kept together; a counterexample is copied out when it is found.
    here, anchors = start, origins
    for _ in range(steps):
        here = _step(here, anchors, linearise(here, rows), threat)
        missed = wrong(model(here), labels[rows]).nonzero().flatten()
        there, home = here[missed], anchors[missed]
        distance = threat.distance(there, home)
        closer = distance < distances[rows[missed]]
        best[rows[missed[closer]]] = there[closer]
        distances[rows[missed[closer]]] = distance[closer]
        here[missed] = home + BACK * (there - home)
        going = distances[rows] > threat.eps
        if not bool(going.all()):
            rows, here, anchors = rows[going], here[going], anchors[going]
            if len(rows) == 0:
                break
    return Found(best, distances <= threat.eps)


def _step(images: Images, origins: Images, plane: Plane, threat: Threat) -> Images:
    flat = torch.cat([images, origins]).flatten(1)
    offset = (plane.normal * images.flatten(1)).sum(1) - plane.lead
    moves = to_hyperplane(flat, plane.normal, offset, threat.norm, threat.low, threat.high)
    lengths = moves.abs().amax(1) if threat.norm == "linf" else moves.norm(dim=1)
    lengths = lengths.clamp(min=1e-8)
    own, original = lengths.chunk(2)
    fraction = (own / (own + original)).clamp(max=MOST_ORIGINAL).unsqueeze(1)
    ahead, back = (flat + OVERSHOOT * moves).chunk(2)
    mixed = (1 - fraction) * ahead + fraction * back
    return mixed.clamp(threat.low, threat.high).view_as(images)


def fab(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    steps: int = 100,
    targeted: bool = True,
) -> Images:
    """Search for misclassified images close to the originals, in reach of the threat.

    Args:
        model: maps images to logits.
        images: origins, inside the box.
        labels: true labels.
        threat: ball and box.
        steps: iterations for each target.
        targeted: go for one class after the other, at most 9, best first; else for the nearest
            linearised boundary (a backward pass for each class and step).

    Returns:
        a misclassified image inside the threat where one was found, else the original.
    """
    images = threat.origins(images)
    with frozen(model):
        counted = Counted(model)
        clean = counted(images)
        labels = checked_labels(labels, images, clean.shape[1])
        order = clean.sort(dim=1, descending=True).indices
        result, unbroken = images.clone(), ~wrong(clean, labels)
        ranks = range(1, min(MOST_TARGETS, order.shape[1] - 1) + 1) if targeted else [0]
        for rank in ranks:
            rows = unbroken.nonzero().flatten()
            if len(rows) == 0:
                break
            origins, own = images[rows], labels[rows]
            plane = nearest(counted, own, threat)
            if targeted:
                plane = towards(counted, own, order[rows, rank])
            found = fab_search(counted, plane, origins, origins, own, threat=threat, steps=steps)
            settled = threat.project(found.images, origins)
            won = found.success & wrong(counted(settled), own)
            result[rows[won]], unbroken[rows[won]] = settled[won], False
    return result
