"""How small can the expansion of an error region be, if its label uncertainty must be human?

Zhang, Evans, ICLR 2022, on Mahloujifar et al., NeurIPS 2019. The answer is an estimate. Not here:
proven ceilings for given rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from surefoot.limits.calibration import Attempt, CalibrateTo, calibrated
from surefoot.limits.families import FAMILIES, Family, choose
from surefoot.limits.goal import Fit, Goal
from surefoot.limits.label_uncertainty import largest_gamma
from surefoot.limits.measures import Measures, measure
from surefoot.limits.parts import Parts, Rows, split
from surefoot.limits.regions import Region
from surefoot.stats import Interval

PerPoint = Float[Tensor, "N"]


@dataclass(frozen=True)
class Estimate:
    """An estimate of the concentration of the data, never a proof; see `concentration`.

    Attributes:
        feasible: a region with enough risk and label uncertainty on the search part was found;
            otherwise every other field but `largest_gamma` is None, False or "none".
        valid: feasible, and on the report part the lower limits of risk and of label uncertainty
            reach the `risk` and the `gamma` asked for.
        largest_gamma: no subset of the search part of measure `risk` has more label uncertainty.
        risk: held-out measure of the region.
        adversarial_risk: held-out measure of its expansion.
        label_uncertainty: held-out mean over the region.
        search: the same three on the part that chose the region: too good to quote.
        region: the region itself.
        calibrate: the same three on the part that `delta`, `components` and the demanded gamma were
            chosen on.
        calibrated: "none": no part for it; "missed": no attempt reached `risk` and `gamma` there;
            "value": the figures of `calibrate` reach them; "limit": their lower limits do.
        delta: the one used.
        components: the number used, as the search was asked.
        gamma: the label uncertainty that the search was asked for, at least the one demanded.
    """

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


def concentration(
    points: Float[Tensor, "N ..."],
    uncertainty: PerPoint,
    *,
    risk: float,
    gamma: float,
    eps: float,
    norm: Literal["l2", "linf"],
    family: Family | None = None,
    components: int = 5,
    delta: float = 0.05,
    constraint: Literal["union", "component"] = "union",
    calibrate_to: CalibrateTo = "value",
    search: Rows | np.ndarray | None = None,
    calibrate: Rows | np.ndarray | None = None,
    report: Rows | np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    r"""Estimate how robust a classifier with this much error and human uncertainty could be.

    $$ h(\mu, \mathrm{risk}, \varepsilon, \gamma) = \inf \{ \mu(E_\varepsilon) : \mu(E) \ge
    \mathrm{risk},\ \mathrm{LU}(E) \ge \gamma \} $$
    Every point of the expansion of an error region can be attacked, so 1 - h is the best robustness
    of all classifiers whose errors have this measure and uncertainty. A search within a family of
    regions finds ONE region on the search part. The calibration part raises what the search is
    asked for until held-out points confirm the risk and the label uncertainty, and chooses the
    number of components. The report part, which had no say, measures the region.

    How to read it: the region's expansion bounds h from above, so `robustness` bounds the best
    possible robustness from below, up to sampling error: a classifier this robust may exist. It is
    an ESTIMATE of the limit, not a proof that no classifier is more robust; it approaches the
    limit only as points and components grow without end. An error counts where the PERTURBED point
    is misjudged (against its own truth), unlike an attack that compares with the label of the clean
    point. Where the held-out risk falls short of `risk` (`valid` is False) the figure flatters:
    give a calibration part, or calibrate_to="limit".

    Holds if: the points are independent draws; the parts share no point.

    Args:
        points: floating point, any shape a point; flattened.
        uncertainty: label uncertainty of each point, in [0, 2].
        risk: least measure of the region, in (0, 1).
        gamma: least mean label uncertainty of the region; 0 asks for nothing.
        eps: size of the expansion, in the units of the points.
        norm: "l2" or "linf".
        family: "balls" (l2) or "cubes" (linf) around points; "rectangles" (linf): the complement of
            rectangles around the dense part, whose expansion is bounded from above; "half-spaces"
            (both). None takes balls or cubes.
        components: at most this many balls, cubes, rectangles or half-spaces. Calibration also
            tries a half, a quarter, ... one.
        delta: the search part is covered to risk * (1 + delta), so that held-out points follow;
            calibration starts there and raises it up to a cover of four times the risk.
        constraint: "union": the mean over ALL covered points stays at `gamma` or above after every
            component, so the region obeys as the definition asks, and a component may use what
            earlier ones can spare; balls also try "component" and keep the smaller expansion.
            "component": each component obeys alone, as in the authors' program; stricter. The
            complement of rectangles is one component.
        calibrate_to: what calibration must bring up to `risk` and `gamma`: "value", the figures of
            the calibration part, as published figures do, or "limit", their lower 95 % limits, so
            that the report part is hardly ever below.
        search: rows that choose the region.
        calibrate: rows that calibrate. Parts: if none is given, a seeded half, a quarter and a
            quarter. Only `calibrate`: the rest in two halves. Without it, but one of search or
            report given: the other is the rest, and nothing is calibrated.
        report: rows that measure the region.
        seed: of the split, of what searches draw, and of the bootstrap, >= 0.

    Returns:
        An `Estimate`. `feasible` False says that the search found no region: `gamma` is above or
        close to `largest_gamma`, or many points are equal (then raise `delta`).

    Raises:
        ValueError: NaN or infinite points, shapes or ranges that do not fit, a family without a
            closed form for the norm, parts that overlap or are too small.

    Reference: Zhang, Evans, ICLR 2022, arXiv 2107.03250; Mahloujifar et al., NeurIPS 2019,
    arXiv 1905.12202, Theorem 2.4, Algorithms 1 and 2.
    """
    goal = Goal(risk, gamma, eps, norm, components, delta, constraint)
    family = choose(family, norm)
    _check_points(points, uncertainty)
    parts = split(len(points), search, calibrate, report, seed)
    flat, uncertainty = points.flatten(1), uncertainty.to(points.device).double()

    def measured(region: Region, rows: Rows) -> Measures:
        return measure(region, flat[rows], uncertainty[rows], eps, seed)

    ceiling = largest_gamma(uncertainty[parts.search], risk)
    found = None
    if gamma <= ceiling:
        fit = FAMILIES[family].prepare(flat[parts.search], uncertainty[parts.search], goal, seed)
        found = _find(fit, goal, measured, parts, calibrate_to)
    if found is None:
        return Estimate(feasible=False, valid=False, largest_gamma=ceiling)
    region, asked, checked = found
    new = measured(region, parts.report)
    return Estimate(
        feasible=True,
        valid=new.certainly_reaches(risk, gamma),
        largest_gamma=ceiling,
        **vars(new),
        search=measured(region, parts.search),
        region=region,
        calibrate=checked,
        calibrated=_verdict(checked, risk, gamma),
        delta=asked.delta,
        components=asked.components,
        gamma=asked.gamma,
    )


def _find(
    fit: Fit,
    goal: Goal,
    measured: Callable[[Region, Rows], Measures],
    parts: Parts,
    calibrate_to: CalibrateTo,
) -> Attempt | None:
    """Search with or without calibration; the report part is not touched."""
    rows = parts.calibrate
    if rows is not None:
        return calibrated(fit, goal, lambda region: measured(region, rows), calibrate_to)
    region = fit(goal)
    return None if region is None else Attempt(region, goal, None)


def _verdict(
    checked: Measures | None, risk: float, gamma: float
) -> Literal["none", "missed", "value", "limit"]:
    if checked is None:
        return "none"
    if checked.certainly_reaches(risk, gamma):
        return "limit"
    return "value" if checked.reaches(risk, gamma) else "missed"


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
