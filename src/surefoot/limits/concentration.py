"""How small can the expansion of an error region be, if its label uncertainty must be human?

Zhang, Evans, ICLR 2022, on Mahloujifar et al., NeurIPS 2019. The answer is an estimate. Not here:
proven ceilings for given rows.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surefoot.limits.greedy import Goal, greedy_union
from surefoot.limits.label_uncertainty import largest_gamma
from surefoot.limits.regions import Region
from surefoot.stats import Interval, interval
from surefoot.streams import generator

PerPoint = Float[Tensor, "N"]
Rows = Int[Tensor, "_"]

FAMILIES = {"l2": "balls", "linf": "cubes"}
DRAWS = 1000
LEVEL = 0.05
"""Error probability of each interval."""


@dataclass(frozen=True)
class Measures:
    """A region measured on one part of the points, each figure with its 95 % interval.

    Attributes:
        risk: share of the points in the region (Clopper-Pearson).
        adversarial_risk: share of the points within `eps` of it (Clopper-Pearson).
        label_uncertainty: mean over the points in the region (percentile bootstrap: approximate,
            and narrow for few points); NaN within [0, 2] if there are none.
    """

    risk: Interval
    adversarial_risk: Interval
    label_uncertainty: Interval


@dataclass(frozen=True)
class Estimate:
    """An estimate of the concentration of the data, never a proof; see `concentration`.

    Attributes:
        feasible: a region with enough risk and label uncertainty on the search part was found;
            otherwise every other field but `largest_gamma` is None or False.
        valid: feasible, and on the report part the lower limits of risk and of label uncertainty
            reach the `risk` and the `gamma` asked for.
        largest_gamma: no subset of the search part of measure `risk` has more label uncertainty.
        risk: held-out measure of the region.
        adversarial_risk: held-out measure of its expansion.
        label_uncertainty: held-out mean over the region.
        search: the same three on the part that chose the region: too good to quote.
        region: the region itself.
    """

    feasible: bool
    valid: bool
    largest_gamma: float
    risk: Interval | None = None
    adversarial_risk: Interval | None = None
    label_uncertainty: Interval | None = None
    search: Measures | None = None
    region: Region | None = None

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
    family: Literal["balls", "cubes"] | None = None,
    pieces: int = 5,
    delta: float = 0.05,
    constraint: Literal["union", "piece"] = "union",
    search: Rows | None = None,
    report: Rows | None = None,
    seed: int = 0,
) -> Estimate:
    r"""Estimate how robust a classifier with this much error and human uncertainty could be.

    $$ h(\mu, \mathrm{risk}, \varepsilon, \gamma) = \inf \{ \mu(E_\varepsilon) : \mu(E) \ge
    \mathrm{risk},\ \mathrm{LU}(E) \ge \gamma \} $$
    Every point of the expansion of an error region can be attacked, so 1 - h is the best robustness
    of all classifiers whose errors have this measure and uncertainty. A greedy search over unions
    of balls (l2) or cubes (linf) on the search part finds ONE region; the report part measures it.

    How to read it: the region's expansion bounds h from above, so `robustness` bounds the best
    possible robustness from below, up to sampling error: a classifier this robust may exist. It is
    an ESTIMATE of the limit, not a proof that no classifier is more robust; it approaches the
    limit only as points and pieces grow without end. An error counts where the PERTURBED point is
    misjudged (against its own truth), unlike an attack that compares with the label of the clean
    point. Where the held-out risk falls short of `risk` (`valid` is False) the figure flatters:
    raise `delta`.

    Holds if: the points are independent draws; search and report share no point.

    Args:
        points: floating point, any shape a point; flattened.
        uncertainty: label uncertainty of each point, in [0, 2].
        risk: least measure of the region, in (0, 1).
        gamma: least mean label uncertainty of the region; 0 asks for nothing.
        eps: size of the expansion, in the units of the points.
        norm: "l2" or "linf".
        family: "balls" needs l2, "cubes" linf; None takes the one that fits.
        pieces: at most this many balls or cubes.
        delta: the search part is covered to risk * (1 + delta), so that held-out points follow.
        constraint: "union": the mean over ALL covered points stays at `gamma` or above after every
            piece, so the region obeys as the definition asks, and a piece may use what earlier
            ones can spare; the search also tries "piece" and keeps the smaller expansion.
            "piece": each piece obeys alone, as in the authors' program; stricter.
        search: rows that choose the region. Default: a seeded half, or all rows not in `report`.
        report: rows that measure it. Default: all rows not in `search`.
        seed: of the split and of the bootstrap, >= 0.

    Returns:
        An `Estimate`. `feasible` False says that the greedy search found no region: `gamma` is
        above or close to `largest_gamma`, or many points are equal (then raise `delta`).

    Raises:
        ValueError: NaN or infinite points, shapes or ranges that do not fit, parts that overlap.

    Reference: Zhang, Evans, ICLR 2022, arXiv 2107.03250; Mahloujifar et al., NeurIPS 2019,
    arXiv 1905.12202, Theorem 2.4 and Algorithm 2.
    """
    goal = Goal(risk, gamma, eps, norm, pieces, delta, constraint)
    if family not in (None, FAMILIES[norm]):
        raise ValueError(f"`family` {family!r} does not expand in closed form under norm {norm!r}")
    _check_points(points, uncertainty)
    chosen, held_out = _split(len(points), search, report, seed)
    flat, uncertainty = points.flatten(1), uncertainty.to(points.device).double()
    ceiling = largest_gamma(uncertainty[chosen], risk)
    region = None
    if gamma <= ceiling:
        region = greedy_union(flat[chosen].double(), uncertainty[chosen], goal)
    if region is None:
        return Estimate(feasible=False, valid=False, largest_gamma=ceiling)
    seen = _measure(region, flat[chosen], uncertainty[chosen], eps, seed)
    new = _measure(region, flat[held_out], uncertainty[held_out], eps, seed)
    valid = new.risk.low >= risk and new.label_uncertainty.low >= gamma
    return Estimate(
        True, valid, ceiling, new.risk, new.adversarial_risk, new.label_uncertainty, seen, region
    )


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


def _split(count: int, search: Rows | None, report: Rows | None, seed: int) -> tuple[Rows, Rows]:
    """Fill in the part that is not given; the parts never overlap."""
    if search is None and report is None:
        search = torch.randperm(count, generator=generator(seed, 0))[: count // 2]
    parts = [_check_part(part, count) for part in (search, report) if part is not None]
    uses = torch.zeros(count, dtype=torch.int64)
    for part in parts:
        uses.index_add_(0, part, torch.ones_like(part))
    if int(uses.max()) > 1:
        raise ValueError("`search` and `report` must hold each row at most once, in one of the two")
    rest = (uses == 0).nonzero().squeeze(1)
    if search is None:
        return _check_part(rest, count), parts[0]
    return parts[0], parts[1] if report is not None else _check_part(rest, count)


def _check_part(part: Rows, count: int) -> Rows:
    if len(part) < 2 or not 0 <= int(part.min()) <= int(part.max()) < count:
        raise ValueError(
            f"`search` and `report` must each hold at least 2 row numbers in [0, {count - 1}];"
            f" found {len(part)} rows."
        )
    return part.long().cpu()


def _measure(
    region: Region, points: Tensor, uncertainty: Tensor, eps: float, seed: int
) -> Measures:
    inside, reached = region.contains(points), region.expand(eps).contains(points)
    return Measures(
        interval(int(inside.sum()), len(points), LEVEL),
        interval(int(reached.sum()), len(points), LEVEL),
        _mean_interval(uncertainty[inside].cpu(), seed),
    )


def _mean_interval(values: Tensor, seed: int) -> Interval:
    """Give the mean with its percentile bootstrap interval."""
    if len(values) == 0:
        return Interval(torch.nan, 0.0, 2.0)
    if bool((values == values[0]).all()):
        return Interval(*[values[0].item()] * 3)
    source, size = generator(seed, 1), (len(values),)
    means = torch.stack(
        [values[torch.randint(len(values), size, generator=source)].mean() for _ in range(DRAWS)]
    )
    mean = values.mean().item()
    low, high = torch.quantile(means, means.new_tensor([LEVEL / 2, 1 - LEVEL / 2])).tolist()
    return Interval(mean, min(low, mean), max(high, mean))
