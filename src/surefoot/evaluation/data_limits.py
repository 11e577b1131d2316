"""The limit of the data beside a record: an estimate for the distribution, a proof for its rows.

`estimates`: the error region of the model is what counts: risk = its clean error, gamma = the label
uncertainty of that region (0 without soft labels). Adversarial risk is the error-region kind (the
label is compared at the perturbed point), unlike the attacked figure.
`ceilings`: no classifier is right and robust on more of exactly these rows, because points of
different labels conflict.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from surefoot.data import Data
from surefoot.evaluation import metrics
from surefoot.evaluation.header import CeilingPart, LimitPart
from surefoot.guarantees import Guarantee
from surefoot.limits import Estimate, concentration, conflict_bound, uncertainty_of
from surefoot.stats import Interval, lower_bound
from surefoot.streams import generator
from surefoot.threat import Threat

MOST_OTHERS = 2_000
"""Points that search and calibrate."""
FEWEST_OTHERS = 100
"""Fewer points than this are too few to search and to calibrate."""
SURE = 0.8
"""Probability that the rows confirm a region."""
MOST_EXCESS = 0.15
"""Risk that a region may have above that of the classifier."""


def estimates(
    data: Data,
    right: Tensor,
    guarantee: Guarantee,
    threat: Threat,
    radii: Sequence[float],
    *,
    others: Data | None = None,
) -> tuple[LimitPart, ...]:
    """Estimate the limit at each radius, for a classifier that is right on these rows.

    Regions are searched and calibrated on `others`, which are not evaluated, and measured on the
    evaluated rows. A region of exactly the risk of the classifier would not be confirmed by so few
    rows; one of `confirmable` risk is. Without `others` one half of the rows searches, the other
    measures, and nothing is calibrated.

    Returns:
        one entry a radius; empty for guarantees about sets (the limit speaks of single labels),
        for a model that is always or never right, for fewer than 20 rows.
    """
    if guarantee.conflict_distance is None or len(right) < 20:
        return ()
    points, unsure, parts = _parts(data, others)
    wrong, own = ~right, unsure[-len(right) :]
    if others is None:
        half = parts["search"]
        wrong, own = wrong[half], own[half]
    risk = wrong.double().mean().item()
    if not 0 < risk < 1:
        return ()
    gamma = own[wrong].mean().item()
    aimed = risk if others is None else confirmable(risk, len(right))
    found: list[LimitPart] = []
    for radius in radii:
        estimate = concentration(
            points,
            unsure,
            risk=aimed,
            gamma=gamma,
            eps=radius,
            norm=threat.norm,
            calibrate_to="value" if others is None else "limit",
            **parts,
        )
        found.append(_part(estimate, radius, risk, gamma))
    return tuple(found)


def apart(others: Data | None, data: Data) -> Data | None:
    """Return the rows of `others` that are not evaluated; None where they cannot search.

    They must be of the same kind (shape, box, levels, soft labels or none), and `FEWEST_OTHERS` at
    least; rows equal to an evaluated one are left out. Of many a seeded draw is taken.
    """
    if others is None or others.labels is None:
        return None
    if (others.probabilities is None) != (data.probabilities is None):
        return None
    first, own = (one.inputs(slice(0, 1)) for one in (others, data))
    if first.shape != own.shape or others.box != data.box or others.levels != data.levels:
        return None
    order = torch.randperm(len(others), generator=generator(0, len(others)))
    others = others.take(order[: MOST_OTHERS + len(data)])
    known = {row.numpy().tobytes() for row in data.inputs(slice(None))}
    rows = [row.numpy().tobytes() not in known for row in others.inputs(slice(None))]
    kept = torch.tensor(rows).nonzero().flatten()[:MOST_OTHERS]
    return others.take(kept) if len(kept) >= FEWEST_OTHERS else None


def confirmable(risk: float, count: int) -> float:
    """Return the least measure of a region that `count` rows confirm to be at least `risk`.

    With probability `SURE` as many of the rows lie in it that the lower 95 % limit reaches `risk`.
    """
    from scipy.stats import beta

    enough = lower_bound(torch.arange(1, count + 1), count, 0.025) >= risk
    hits = count - int(enough.sum()) + 1 if bool(enough.any()) else count
    return float(beta.ppf(SURE, hits, count - hits + 1))


def _parts(data: Data, others: Data | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return points, their label uncertainty, and who searches, calibrates and reports."""
    points, unsure = data.inputs(slice(None)).flatten(1), uncertainty_of(data)
    if others is None:
        order = torch.randperm(len(points), generator=generator(0, len(points)))
        search, report = order[: len(order) // 2], order[len(order) // 2 :]
        return points, unsure, {"search": search, "report": report}
    points = torch.cat([others.inputs(slice(None)).flatten(1), points])
    unsure = torch.cat([uncertainty_of(others), unsure])
    order = torch.randperm(len(others), generator=generator(0, len(others)))
    search, calibrate = order.tensor_split(2)
    report = torch.arange(len(others), len(points))
    return points, unsure, {"search": search, "calibrate": calibrate, "report": report}


def _part(found: Estimate, radius: float, risk: float, gamma: float) -> LimitPart:
    """Return the entry of the header; valid if the rows confirm the risk of the classifier.

    A region of far more risk says little about classifiers of this one: that is not valid either.
    """
    measured, unsure = found.risk, found.label_uncertainty
    confirmed = (
        measured is not None and measured.low >= risk and measured.value <= risk + MOST_EXCESS
    )
    if gamma > 0:
        confirmed = confirmed and unsure is not None and unsure.low >= gamma
    return LimitPart(
        radius,
        found.feasible,
        confirmed,
        demanded_risk=risk,
        gamma=gamma,
        risk=finite(found.risk),
        adversarial_risk=finite(found.adversarial_risk),
        label_uncertainty=finite(found.label_uncertainty),
        robustness=finite(found.robustness),
    )


def never_rising(parts: Sequence[LimitPart]) -> tuple[LimitPart, ...]:
    """Quote the estimate of a smaller radius where that of a larger one is higher.

    The limit cannot rise with the radius; a search may have found a worse region there.
    """
    found: list[LimitPart] = []
    for part in parts:
        found.append(_no_higher(part, found[-1]) if found else part)
    return tuple(found)


def unbeaten(parts: Sequence[LimitPart], rows: pd.DataFrame) -> tuple[LimitPart, ...]:
    """Make estimates invalid that the classifier itself refutes: more is certified on these rows.

    Its own errors, then, expand to fewer points than the region found.
    """
    return tuple(replace(part, valid=part.valid and not beaten(part, rows)) for part in parts)


def beaten(part: LimitPart, rows: pd.DataFrame) -> bool:
    """Return whether more rows are certified to the radius than the estimate allows."""
    certified = metrics.certified_right(rows, part.radius).mean()
    return part.robustness is not None and bool(certified > part.robustness.value)


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
