"""How small can the expansion of an error region be, if its label uncertainty must be human?

Zhang, Evans, ICLR 2022, on Mahloujifar et al., NeurIPS 2019. The result is an estimate. Not here:
proven ceilings for given rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.limits.calibration import Attempt, calibrated
from surefoot.limits.families import CENTRED, FAMILIES, choose, fitting
from surefoot.limits.goal import Goal
from surefoot.limits.label_uncertainty import largest_gamma
from surefoot.limits.measures import Measures, measure
from surefoot.limits.regions import Fit, Region
from surefoot.limits.split import Parts, Rows, checked_rows, split
from surefoot.stats import Interval
from surefoot.types import Points

PerPoint = Float[Tensor, "N"]


@dataclass(frozen=True)
class Estimate:
    """An estimate of the concentration of the data, never a proof; see `concentration`.

    Attributes:
        family: of the region; "none" where the family "best" found none.
        feasible: a region with enough risk and label uncertainty on the search part was found;
            otherwise every later field but `largest_gamma` is None, False or "none".
        valid: feasible, and on the report part the lower limits of risk and of label uncertainty
            reach the `risk` and the `gamma` demanded.
        largest_gamma: no subset of the search part of measure `risk` has more label uncertainty.
        risk: held-out measure of the region.
        adversarial_risk: held-out measure of its expansion.
        label_uncertainty: held-out mean over the region.
        search: the same three on the part that chose the region: too good to quote.
        region: the region itself.
        calibrate: the same three on the part that `delta`, `components` and the demanded gamma were
            chosen on.
        calibrated: "none": no part for it; "missed": no attempt reached `risk` and `gamma` there;
            "value": the values of `calibrate` reach them; "limit": their lower limits do.
        delta: the one used.
        components: the number used, at most.
        gamma: the label uncertainty that the search had to reach, at least the one demanded.
    """

    family: str
    feasible: bool
    valid: bool
    largest_gamma: float
    risk: Interval | None = None
    adversarial_risk: Interval | None = None
    label_uncertainty: Interval | None = None
    search: Measures | None = None
    region: Region | None = None
    calibrate: Measures | None = None
    calibrated: Literal["none", "missed", "value", "limit"] = "none"
    delta: float | None = None
    components: int | None = None
    gamma: float | None = None

    @property
    def robustness(self) -> Interval | None:
        """One minus the held-out adversarial risk."""
        if self.adversarial_risk is None:
            return None
        found = self.adversarial_risk
        return Interval(1 - found.value, 1 - found.high, 1 - found.low)

    def describe(self) -> dict[str, Any]:
        """Return everything but the region as JSON can hold it."""
        found = vars(self) | {"robustness": self.robustness}
        return {name: _plain(value) for name, value in found.items() if name != "region"}


def concentration(
    points: Float[Tensor, "N ..."],
    uncertainty: PerPoint,
    *,
    search: Rows | np.ndarray | None = None,
    calibrate: Rows | np.ndarray | None = None,
    report: Rows | np.ndarray | None = None,
    centres: Rows | np.ndarray | None = None,
    **settings: Any,
) -> Estimate:
    r"""Estimate how robust a classifier with this much error and human uncertainty could be.

    $$ h(\mu, \mathrm{risk}, \varepsilon, \gamma) = \inf \{ \mu(E_\varepsilon) : \mu(E) \ge
    \mathrm{risk},\ \mathrm{LU}(E) \ge \gamma \} $$
    Every point of the expansion of an error region can be attacked, so 1 - h is the best robustness
    of all classifiers whose errors have this measure and uncertainty. A search within a family of
    regions finds ONE region on the search part. The calibration part raises what the search
    must reach until held-out points confirm the risk and the label uncertainty, and chooses the
    number of components. The report part, not used before, measures the region.

    How to read it: the region's expansion bounds h from above, so `robustness` bounds the best
    possible robustness from below, up to sampling error: a classifier this robust may exist. It is
    an ESTIMATE of the limit, not a proof that no classifier is more robust; it approaches the
    limit only as points and components grow without end. An error counts where the PERTURBED point
    is misjudged (against its own truth), unlike an attack that compares with the label of the clean
    point. Where the held-out risk falls short of `risk` (`valid` is False) the estimate is too
    optimistic: pass a calibration part, or calibrate_to="limit".

    Holds if: the points are independent draws; the parts share no point.

    Args:
        points: floating point, any shape a point; flattened.
        uncertainty: label uncertainty of each point, in [0, 2].
        search: rows that choose the region.
        calibrate: rows that calibrate. Parts: if none is given, a seeded half, a quarter and a
            quarter. Only `calibrate`: the rest in two halves. Without it, but one of search or
            report given: the other is the rest, and nothing is calibrated.
        report: rows that measure the region.
        centres: rows that balls or cubes may be grown around, where the search part holds them:
            disputed points, or the errors of a classifier; None: all.
        settings: the fields of `Goal`: risk, gamma, eps and norm; family, components, delta,
            constraint, calibrate_to and seed.

    Returns:
        An `Estimate`. `feasible` False says that the search found no region: `gamma` is above or
        close to `largest_gamma`, or many points are equal (then raise `delta`); of the family
        "best": no family reached the goal on the calibration part.

    Raises:
        ValueError: NaN or infinite points, shapes or ranges that do not fit, a family without a
            closed form for the norm, parts that overlap or are too small; the family "best" without
            a calibration part; centres for a family without any, or none in the search part.

    Reference: Zhang, Evans, ICLR 2022, arXiv 2107.03250; Mahloujifar et al., NeurIPS 2019,
    arXiv 1905.12202, Theorem 2.4, Algorithms 1 and 2.
    """
    goal = Goal(**settings)
    best = goal.family == "best"
    families = fitting(goal.norm) if best else [choose(goal.family, goal.norm)]
    _check_points(points, uncertainty)
    parts = split(len(points), search, calibrate, report, goal.seed)
    if best and parts.calibrate is None:
        raise ValueError("the best family is chosen on `calibrate`: give it, or no part at all")
    flat, uncertainty = points.flatten(1), uncertainty.to(points.device).double()
    allowed = None if centres is None else _centres(centres, len(points), parts.search, families)
    found = [_of_family(name, flat, uncertainty, goal, parts, allowed) for name in families]
    if not best:
        return found[0]
    good = [estimate for estimate in found if estimate.calibrated in ("value", "limit")]
    if not good:
        return Estimate("none", False, False, found[0].largest_gamma)
    return min(good, key=_calibrated_risk)


def _centres(centres: Rows | np.ndarray, count: int, search: Rows, families: list[str]) -> Rows:
    """Return which of the search rows balls may be grown around, by their place among them."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[checked_rows(centres, "centres", count)] = True
    places = chosen[search].nonzero().squeeze(1)
    without = [name for name in families if name not in CENTRED]
    if without or not len(places):
        raise ValueError(
            f"`centres` need a family that has centres ({', '.join(CENTRED)}) and a row in the"
            f" search part; found family {', '.join(families)}, {int(chosen.sum())} centres,"
            f" {len(places)} of them in the search part"
        )
    return places


def _of_family(
    family: str,
    points: Points,
    uncertainty: Tensor,
    goal: Goal,
    parts: Parts,
    centres: Rows | None,
) -> Estimate:
    def measured(region: Region, rows: Rows) -> Measures:
        return measure(region, points[rows], uncertainty[rows], goal.eps, goal.seed)

    ceiling = largest_gamma(uncertainty[parts.search], goal.risk)
    found = None
    if goal.gamma <= ceiling:
        prepare: Callable[..., Fit] = FAMILIES[family].prepare
        if centres is not None:
            prepare = partial(prepare, centres=centres.to(points.device))
        fit = prepare(points[parts.search], uncertainty[parts.search], goal)
        found = _find(fit, goal, measured, parts.calibrate)
    if found is None:
        return Estimate(family, False, False, ceiling)
    region, raised, checked = found
    new = measured(region, parts.report)
    return Estimate(
        family=family,
        feasible=True,
        valid=new.certainly_reaches(goal.risk, goal.gamma),
        largest_gamma=ceiling,
        **vars(new),
        search=measured(region, parts.search),
        region=region,
        calibrate=checked,
        calibrated=_verdict(checked, goal),
        delta=raised.delta,
        components=raised.components,
        gamma=raised.gamma,
    )


def _find(
    fit: Fit, goal: Goal, measured: Callable[[Region, Rows], Measures], calibrate: Rows | None
) -> Attempt | None:
    """Search with or without calibration; the report part is not touched."""
    if calibrate is not None:
        return calibrated(fit, goal, lambda region: measured(region, calibrate))
    region = fit(goal)
    return None if region is None else Attempt(region, goal, None)


def _verdict(checked: Measures | None, goal: Goal) -> Literal["none", "missed", "value", "limit"]:
    if checked is None:
        return "none"
    if checked.certainly_reaches(goal.risk, goal.gamma):
        return "limit"
    return "value" if checked.reaches(goal.risk, goal.gamma) else "missed"


def _plain(value: object) -> object:
    if isinstance(value, Measures):
        return {name: _plain(part) for name, part in vars(value).items()}
    return value.as_json() if isinstance(value, Interval) else value


def _calibrated_risk(estimate: Estimate) -> float:
    assert estimate.calibrate is not None
    return estimate.calibrate.adversarial_risk.value


def _check_points(points: Tensor, uncertainty: Tensor) -> None:
    if points.ndim < 2 or len(points) < 4:
        raise ValueError(
            f"`points` must be at least 4 points [N, ...]; found shape {tuple(points.shape)}."
            " The search and the report part need 2 each."
        )
    if not bool(points.isfinite().all()):
        raise ValueError("`points` must be finite; found a NaN or an infinity")
    if uncertainty.shape != points.shape[:1] or not bool(
        ((uncertainty >= 0) & (uncertainty <= 2)).all()
    ):
        raise ValueError(
            f"`uncertainty` must be one value in [0, 2] for each of {len(points)} points; found"
            f" shape {tuple(uncertainty.shape)}, or a NaN or a value out of range."
            " Make it with surefoot.limits.label_uncertainty."
        )
