"""The limit of the data beside a record: an estimate for the distribution, a proof for its rows.

`estimates`: the error region of the model is what counts: risk = its clean error on the search
half, gamma = the label uncertainty of that region (0 without soft labels). Adversarial risk is the
error-region kind (the label is compared at the perturbed point), unlike the attacked figure.
`ceilings`: no classifier is right and robust on more of exactly these rows, because points of
different labels conflict.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from surefoot.data import Data
from surefoot.evaluation.header import CeilingPart, LimitPart
from surefoot.guarantees import Guarantee
from surefoot.limits import concentration, conflict_bound, uncertainty_of
from surefoot.stats import Interval
from surefoot.streams import generator
from surefoot.threat import Threat


def estimates(
    data: Data, right: Tensor, guarantee: Guarantee, threat: Threat, radii: Sequence[float]
) -> tuple[LimitPart, ...]:
    """Estimate the limit at each radius, for a classifier that is right on these rows.

    Returns:
        one entry a radius; empty for guarantees about sets (the limit speaks of single labels),
        for a model that is always or never right on the search half, for fewer than 20 rows.
    """
    if guarantee.conflict_distance is None or len(right) < 20:
        return ()
    points = data.inputs(slice(None)).flatten(1)
    unsure = uncertainty_of(data)
    order = torch.randperm(len(points), generator=generator(0, len(points)))
    search, report = order[: len(order) // 2], order[len(order) // 2 :]
    wrong = ~right
    risk = wrong[search].double().mean().item()
    if not 0 < risk < 1:
        return ()
    gamma = unsure[search][wrong[search]].mean().item()
    parts: list[LimitPart] = []
    for radius in radii:
        found = concentration(
            points,
            unsure,
            risk=risk,
            gamma=gamma,
            eps=radius,
            norm=threat.norm,
            search=search,
            report=report,
        )
        part = LimitPart(
            radius,
            found.feasible,
            found.valid,
            demanded_risk=risk,
            gamma=gamma,
            risk=finite(found.risk),
            adversarial_risk=finite(found.adversarial_risk),
            label_uncertainty=finite(found.label_uncertainty),
            robustness=finite(found.robustness),
        )
        parts.append(part)
    return tuple(parts)


def never_rising(parts: Sequence[LimitPart]) -> tuple[LimitPart, ...]:
    """Quote the estimate of a smaller radius where that of a larger one is higher.

    The limit cannot rise with the radius; a search may have found a worse region there.
    """
    found: list[LimitPart] = []
    for part in parts:
        found.append(_no_higher(part, found[-1]) if found else part)
    return tuple(found)


def ceilings(
    data: Data, guarantee: Guarantee, threat: Threat, radii: Sequence[float]
) -> tuple[CeilingPart, ...]:
    """Prove for each radius how many of these rows any classifier can get right and robust.

    For `LabelOrUncertain` it is about rows that are accepted and right.

    Returns:
        one entry a radius; with soft labels also the largest expected agreement with an annotator
        (of `Local`); empty for guarantees about sets, which have no ceiling.
    """
    if guarantee.conflict_distance is None:
        return ()
    images, labels = data.batch(slice(None))
    points = images.flatten(1)
    parts = []
    for radius in radii:
        shared: dict[str, Any] = {"eps": radius, "norm": threat.norm, "guarantee": guarantee}
        part = CeilingPart(radius, **asdict(conflict_bound(points, labels, **shared)))
        if data.probabilities is not None and not guarantee.counts_rejection_as_right:
            soft = conflict_bound(points, data.probabilities.double(), **shared)
            part = replace(part, agreement=soft.value)
        parts.append(part)
    return tuple(parts)


def _no_higher(part: LimitPart, before: LimitPart) -> LimitPart:
    """Quote the estimate of a smaller radius where this one is higher or missing."""
    if not before.feasible or before.robustness is None:
        return part
    if part.feasible and part.robustness and part.robustness.value <= before.robustness.value:
        return part
    quoted = before.radius if before.quoted_from is None else before.quoted_from
    return replace(before, radius=part.radius, quoted_from=quoted)


def finite(value: Interval | None) -> Interval | None:
    """Return the interval, or None where a part of it is not finite."""
    if value is None or not all(map(math.isfinite, vars(value).values())):
        return None
    return value
