"""The header of a record: what was evaluated, on what, and what its figures rest on.

Each part describes itself in a sentence; a report only puts the sentences together.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from surefoot.attacks.counted import Cost
from surefoot.guarantees import Description
from surefoot.stats import Interval
from surefoot.threat import Threat
from surefoot.wording import NORM_SIGNS, percent, radius_text, with_interval

SCHEMA = 5


@dataclass(frozen=True)
class ModelPart:
    """Which model: its name, and what tells it from another (`identity.identity_of`).

    Args:
        name: of the net.
        classifier: "base", the net as it stands; "vote", the vote of it under noise.
        hash: of its weights.
        config: that `build` takes.
        attributes: hash of the plain values of its modules.
    """

    name: str
    classifier: Literal["base", "vote"] = "base"
    hash: str | None = None
    config: dict[str, Any] | None = None
    attributes: str = ""


@dataclass(frozen=True)
class DataPart:
    """Which data.

    Args:
        name: of the data set.
        count: rows.
        classes: their names; () where they are not known.
        hash: of images and labels.
        repeats: places of the rows whose image is that of an earlier row: they share its noise.
    """

    name: str
    count: int
    classes: tuple[str, ...] = ()
    hash: str = ""
    repeats: tuple[int, ...] = ()


@dataclass(frozen=True)
class LipschitzPart:
    """What a Lipschitz certificate rests on: norms of layers, arithmetic, rounding."""

    norms: str = ""
    arithmetic: str = "float32"
    rounding: dict[str, float] = field(default_factory=dict)
    layers: tuple[dict[str, Any], ...] = ()
    method: Literal["lipschitz"] = "lipschitz"
    in_l2: ClassVar[bool] = True
    largest: ClassVar[float] = math.inf
    """A net that is constant around the image is certified to any radius."""

    def describe(self) -> str:
        """Return a sentence."""
        return "Lipschitz bounds of the network; holds with certainty."


@dataclass(frozen=True)
class RelaxationPart:
    """What a certificate by linear relaxation rests on.

    Args:
        effort: how the net was bounded: "ibp", "crown", "alpha-crown" or "branch-and-bound".
        arithmetic: in which the net runs; its rounding is in every bound.
        layers: kinds of layers, in order.
        decided: radii that were decided, in the norm of the threat; () for the full radius.
        seconds: of branch and bound, for each image; None without.
    """

    effort: str
    arithmetic: str = "float32"
    layers: tuple[str, ...] = ()
    decided: tuple[float, ...] = ()
    seconds: float | None = None
    method: Literal["relaxation"] = "relaxation"
    largest: ClassVar[float] = 1e300
    in_l2: ClassVar[bool] = False

    def describe(self) -> str:
        """Return how the net was bounded, and what is in the bounds."""
        how = {
            "ibp": "intervals (IBP)",
            "crown": "lines substituted back to the images (CROWN)",
            "alpha-crown": "lines with optimised slopes (alpha-CROWN)",
            "branch-and-bound": "lines with optimised slopes, on parts of the ball where needed"
            f" (branch and bound, at most {self.seconds} s an image)",
        }
        which = "the radii of the grid are decided" if self.decided else "radii by bisection"
        return (
            f"Linear relaxation of the network: {how[self.effort]}; {which}. Holds with certainty,"
            f" for every execution in {self.arithmetic}, rounding included."
        )


@dataclass(frozen=True)
class SmoothingPart:
    """What a smoothing certificate rests on.

    Args:
        sigma: of the noise.
        alpha: error probability of the certificate of one example.
        n_select: samples that fix the sets.
        n_certify: samples that are counted, or the most that a decision takes.
        error_budget: how alpha is spent.
        decided: l2 radii that are decided; () for the full radius.
        rule: of the vote.
        test: of the decisions.
        tv_error: distance of the noise from a Gaussian on the grid, in total variation; None where
            it is not known.
    """

    sigma: float
    alpha: float
    n_select: int
    n_certify: int
    error_budget: str = ""
    decided: tuple[float, ...] = ()
    rule: str = "argmax"
    test: str = ""
    tv_error: float | None = None
    method: Literal["smoothing"] = "smoothing"
    in_l2: ClassVar[bool] = True
    largest: ClassVar[float] = 1e300

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and 0 < self.alpha < 1 and self.n_certify >= 1):
            raise ValueError(
                "need sigma > 0, 0 < alpha < 1 and n_certify >= 1; found"
                f" {self.sigma}, {self.alpha}, {self.n_certify}"
            )

    def describe(self) -> str:
        """Return what was drawn, what may fail, and what is unlike the usual."""
        draws = f"{self.n_select} + {self.n_certify}"
        if self.decided:
            draws = f"{draws} at most, until the radii of the grid are decided,"
        text = (
            f"Randomized smoothing, sigma {self.sigma:g}, {draws} draws an example (selection +"
            " certification). The certificate of each example fails with probability at most alpha"
            f" = {self.alpha:g}."
        )
        if self.rule == "majority":
            text += " A label is answered only with a probability above one half."
        if self.tv_error is None:
            text += (
                " Noise in floating point, taken as Gaussian: how far rounding moves its"
                " distribution is not known; for 8-bit images --levels 255 proves a bound."
            )
        elif self.tv_error:
            text += (
                f" Noise in whole steps of the grid; its error, {self.tv_error:.1g}, is in every"
                " bound."
            )
        budget = self.error_budget.rstrip(".")
        return f"{text} Error budget: {budget}." if budget else text


@dataclass(frozen=True)
class LogPart:
    """Radii that were read from somebody's smoothing log."""

    source: str
    method: Literal["smoothing log"] = "smoothing log"
    in_l2: ClassVar[bool] = True
    largest: ClassVar[float] = 1e300

    def describe(self) -> str:
        """Return a sentence."""
        return f"Radii of the smoothing log {self.source}."


CertificatePart = LipschitzPart | RelaxationPart | SmoothingPart | LogPart


@dataclass(frozen=True)
class Work:
    """What the attacks took and what the checks on them gave; a sum over chunks.

    Args:
        forwards: images sent through the model.
        backwards: images with a gradient.
        seconds: wall time.
        skipped_certified: attacks left out because the certificate reached the radius.
        retried: examples attacked at a smaller radius and at the largest.
        missed: how many of them were broken at the smaller one alone.
        grey: sets that fail at the uniformly grey image, attacked in a ball that reaches it.
        grey_missed: how many of them were not broken.
        costs: the same by attack.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    skipped_certified: int = 0
    retried: int = 0
    missed: int = 0
    grey: int = 0
    grey_missed: int = 0
    costs: dict[str, Cost] = field(default_factory=dict)

    def __add__(self, other: "Work") -> "Work":
        names = dict.fromkeys([*self.costs, *other.costs])
        none = Cost()
        costs = {
            name: _sum(Cost, self.costs.get(name, none), other.costs.get(name, none))
            for name in names
        }
        return replace(_sum(Work, replace(self, costs={}), replace(other, costs={})), costs=costs)


def _sum(kind: Any, one: Any, other: Any) -> Any:
    numbers = {name: value for name, value in vars(one).items() if not isinstance(value, dict)}
    return kind(**{name: value + getattr(other, name) for name, value in numbers.items()})


@dataclass(frozen=True)
class AttackPart:
    """Which attack, and what it took.

    Args:
        name: of the attack.
        seed: of its random starts.
        settings: further ones.
        work: None before it ran.
    """

    name: str
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    work: Work | None = None

    def describe(self) -> str:
        """Return name, settings, costs and checks."""
        work, steps = self.work or Work(), self.settings.get("steps")
        details = [] if steps is None else [f"{steps} steps"]
        details += [f"{work.forwards:,} forwards", f"{work.backwards:,} backwards"]
        details += [f"{work.seconds:.1f} s"]
        if work.skipped_certified:
            details += [
                f"{work.skipped_certified:,} times skipped where the certificate reached the radius"
            ]
        if work.retried:
            details += [f"{work.missed} of {work.retried} examples broken at the smaller radius"]
        if work.grey:
            details += [f"{work.grey_missed} of {work.grey} sets missed that fail at plain grey"]
        details += [] if self.seed is None else [f"seed {self.seed}"]
        return ", ".join([self.name, *details]) + ". An upper bound on robust accuracy."


@dataclass(frozen=True)
class LimitPart:
    """The estimated limit of the data at a radius: `limits.concentration`.

    Args:
        radius: in the norm of the threat.
        feasible: a region was found.
        valid: the held-out points confirm what was demanded.
        demanded_risk: clean error of the model on the search half.
        gamma: label uncertainty of its error region there.
        risk: of the region found.
        adversarial_risk: of its eps-expansion.
        label_uncertainty: of the region.
        robustness: 1 - adversarial risk; None where nothing was found, or a bound is not finite.
        quoted_from: the smaller radius that this estimate is of, where the own one was higher.
    """

    radius: float
    feasible: bool
    valid: bool
    demanded_risk: float
    gamma: float
    risk: Interval | None = None
    adversarial_risk: Interval | None = None
    label_uncertainty: Interval | None = None
    robustness: Interval | None = None
    quoted_from: float | None = None

    def text(self) -> str:
        """Return the limit, always with its flag."""
        if not self.feasible or self.robustness is None:
            return "infeasible"
        flag = "estimate" if self.valid else "estimate, not valid"
        return f"{with_interval(self.robustness)} ({flag})"

    def describe(self, norm: str) -> str:
        """Return radius, limit, risk and gamma."""
        return (
            f"radius {radius_text(self.radius, norm)}: {self.text()} at risk"
            f" {percent(self.demanded_risk)}, gamma {self.gamma:g}"
        )


@dataclass(frozen=True)
class CeilingPart:
    """What is proven about these rows at a radius, for every classifier: `limits.conflict_bound`.

    Args:
        radius: in the norm of the threat.
        value: largest fraction of the rows that is right and robust.
        exact: no larger bound is proven.
        conflicts: pairs of rows of which one classifier can have only one.
        agreement: largest expected agreement with an annotator, where labels are soft.
    """

    radius: float
    value: float
    conflicts: int
    exact: bool = True
    agreement: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(f"a ceiling lies in [0, 1]; found {self.value}")

    def describe(self, norm: str) -> str:
        """Return radius, value and conflicts."""
        kind = "" if self.exact else ", a bound"
        radius = radius_text(self.radius, norm)
        text = f"radius {radius}: {percent(self.value)} ({self.conflicts:,} conflicts{kind})"
        if self.agreement is None:
            return text
        return f"{text}, expected agreement with an annotator at most {percent(self.agreement)}"


@dataclass(frozen=True)
class ShardPart:
    """Which part of a run the rows are, and what was computed for the run as a whole.

    Args:
        numbers: of the shards, from 1.
        of: how many shards there are.
        rows: of the whole run.
        run: its identity.
        name: of its row in tables.
        right: hash of the rows that count as right in `limit`; "" where they are not known.
        limit: estimates for the whole run, of some radii.
        ceiling: proven ceilings of the whole run, of some radii.
        warnings: about the model and its outcomes, not about these rows.
    """

    numbers: tuple[int, ...]
    of: int
    rows: int
    run: str
    name: str
    right: str = ""
    limit: tuple[LimitPart, ...] = ()
    ceiling: tuple[CeilingPart, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = set(range(1, self.of + 1))
        if not self.numbers or not set(self.numbers) <= known or self.rows < self.of:
            raise ValueError(
                f"`numbers` must lie in [1, {self.of}], with a row each; found {self.numbers} and"
                f" {self.rows} rows"
            )

    def label(self) -> str:
        """Name the part: "shard 3 of 64", or "partial: 3 of 64 shards"."""
        if len(self.numbers) == 1:
            return f"shard {self.numbers[0]} of {self.of}"
        return f"partial: {len(self.numbers)} of {self.of} shards"

    def warning(self, count: int) -> str:
        """Warn that `count` rows are not the run."""
        word = "shard" if len(self.numbers) == 1 else "shards"
        return (
            f"partial: {word} {listed(self.numbers)} of {self.of}, {count:,} of the {self.rows:,}"
            " rows of the run, without limit and ceiling; `surefoot report` on the folder of all"
            " shards merges them"
        )


def listed(numbers: Sequence[int]) -> str:
    """Write numbers, the first ten of them: "1, 2, 5"."""
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown}, ... ({len(numbers)} in all)"


@dataclass(frozen=True)
class Header:
    """Everything about a record but its rows.

    Args:
        name: of the row that a table shows.
        model: which model.
        data: which data.
        guarantee: what it is called, says and allows.
        threat: norm, headline radius and box.
        radii: the grid, increasing, the headline radius in it.
        config: settings of the classifier.
        certificate: what it rests on; None without one.
        attack: None without one.
        limit: estimates, one a radius.
        ceiling: proven ceilings, one a radius.
        warnings: what makes a figure untrustworthy.
        notes: what a reader should know, and need not act on.
        dimension: numbers in an image.
        asked: which parts were asked for.
        searched: hash of the data, not evaluated, on which limits are searched.
        shard: where the rows are a part of a run only.
        seeds: by what they drive.
        versions: of what it ran on.
        command: that reproduces it.
        seconds: wall time; of all shards together where some were merged.
        headline: metrics at the headline radius (`metrics.headline`), for whoever reads JSON alone.
        identity: hash of all that decides the rows.
        rows_hash: of the file of rows.
        schema: of the header.
    """

    name: str
    model: ModelPart
    data: DataPart
    guarantee: Description
    threat: Threat
    radii: tuple[float, ...]
    config: dict[str, Any] = field(default_factory=dict)
    certificate: CertificatePart | None = None
    attack: AttackPart | None = None
    limit: tuple[LimitPart, ...] = ()
    ceiling: tuple[CeilingPart, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dimension: int = 1
    asked: dict[str, bool] = field(default_factory=dict)
    searched: str = ""
    shard: ShardPart | None = None
    seeds: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    seconds: float | None = None
    headline: dict[str, float | None] = field(default_factory=dict)
    identity: str = ""
    rows_hash: str = field(default="", compare=False)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not self.radii or list(self.radii) != sorted(set(self.radii)) or self.radii[0] < 0:
            raise ValueError(f"`radii` must be increasing numbers >= 0; found {self.radii}")
        if self.threat.eps not in self.radii:
            raise ValueError(
                f"`radii` must be numbers with eps, {self.threat.eps}, in them; found {self.radii}"
            )
        if self.dimension < 1:
            raise ValueError(f"`dimension` must be at least 1; found {self.dimension}")

    @property
    def eps(self) -> float:
        """Return the headline radius."""
        return self.threat.eps

    @property
    def norm(self) -> str:
        """Return the norm of the radii."""
        return self.threat.norm

    def eps_text(self) -> str:
        """Write the headline radius."""
        return self.radius_text(self.eps)

    def radius_text(self, radius: float) -> str:
        """Write a radius of this record."""
        return radius_text(radius, self.norm)

    def unit(self) -> str:
        """Name the norm and the unit of the radii."""
        low, high = self.threat.low, self.threat.high
        if not math.isfinite(high - low):
            return f"{NORM_SIGNS[self.norm]}, in units of the features"
        return f"{NORM_SIGNS[self.norm]}, pixel values in [{low:g}, {high:g}]"

    def guarantee_text(self) -> str:
        """Name the guarantee and the threat in one cell: `TopK(2), \u2113₂ ≤ 0.5`."""
        return f"{self.guarantee.title}, {NORM_SIGNS[self.norm]} ≤ {self.eps_text()}"

    def limit_at(self, radius: float) -> LimitPart | None:
        """Return the estimated limit at a radius."""
        return next((part for part in self.limit if math.isclose(part.radius, radius)), None)

    def ceiling_at(self, radius: float) -> CeilingPart | None:
        """Return the proven ceiling at a radius."""
        return next((part for part in self.ceiling if math.isclose(part.radius, radius)), None)

    def as_json(self) -> dict[str, Any]:
        """Return what is written."""
        written = asdict(self)
        for edge in ("low", "high"):  # JSON has no infinity
            if math.isinf(written["threat"][edge]):
                written["threat"][edge] = str(written["threat"][edge])
        return written
