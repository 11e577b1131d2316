"""The two classifiers a row can be about: a net as it stands, and its vote under noise.

Both answer the same three questions (what holds at the image, what is certified there, what breaks
it), so the bracket never asks which one it has. Figures of one are never mixed with the other's.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from surefoot.attacks import (
    AttackResult,
    VoteSearch,
    autoattack,
    break_sets,
    break_vote,
    pgd,
    union,
)
from surefoot.attacks.attack_warnings import short_steps
from surefoot.attacks.autoattack import VERSIONS
from surefoot.attacks.guarantee_search import QUERIES
from surefoot.attacks.union import Proposer
from surefoot.attacks.vote_attack import vote_fails
from surefoot.certify import Certificates, lipschitz, relaxation, smoothing
from surefoot.certify.smoothing.sampling import Sampling
from surefoot.evaluation.header import (
    AttackPart,
    CertificatePart,
    LipschitzPart,
    RelaxationPart,
    SmoothingPart,
)
from surefoot.guarantees import Guarantee, check_model
from surefoot.models.border import has_gradient, outcomes_of
from surefoot.models.frozen import frozen
from surefoot.streams import generator
from surefoot.threat import Norm, Threat
from surefoot.types import Images, Model, Outcomes, PerExample, Sets, ValueRange, box_of, rejects
from surefoot.uncertainty import Selective, score_of
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.scores import entropy
from surefoot.uncertainty.vote import Vote

Protocol = Literal["margins", "standard", "plus", "rand", "fast", "pgd"]
"""How a net is attacked: the search for every guarantee, AutoAttack's versions, or plain PGD."""


class CleanOutputs(NamedTuple):
    """What a classifier says at clean images.

    Args:
        outcomes: what decides: outcomes of the net, or counted fractions of the vote.
        fractions: probabilities of the outcomes, for display.
        sets: alternatives `[B, A, O]`.
        radii: certified radii `[B, A]` in the norm of the certificate, or None.
        score: how unsure, higher = less certain.
        samples: noise draws `[B]`.
        accepted: certainly a label wins `[B]`, jointly with the radii.
        details: what the certificate rests on, for the header.
    """

    outcomes: Outcomes
    fractions: Outcomes
    sets: Sets
    radii: Tensor | None
    score: PerExample
    samples: Tensor
    accepted: Tensor
    details: CertificatePart | None


@dataclass(frozen=True)
class Plain:
    """A net as it stands, with a certificate of its own (Lipschitz, linear relaxation) or none.

    Args:
        model: maps images to outcomes.
        certificate: "lipschitz", "relaxation" or "none".
        steps: Steps of each search of `break_guarantee`, or of PGD; AutoAttack has its own.
        seed: Seed of the random starts.
        protocol: How the net is attacked: margins (`break_guarantee`) serves every guarantee; for
            `Local` without rejection also AutoAttack (standard, plus, rand, fast) and pgd from a
            random start.
        step_size: Length of a step of pgd; None takes 2.5 eps / steps.
        value_range: Lowest and highest legal value, None: no box. `bracket` puts that of its threat
            here, and norm and radii of its grid into the next two.
        norm: In which a relaxation bounds the net.
        decided: Radii that a relaxation decides; (): the largest one is searched.
        effort: Of a relaxation: ibp propagates intervals, cheaply; crown substitutes lines;
            alpha-crown optimises their slopes; branch-and-bound then splits what is undecided.
        seconds: Of branch-and-bound: so many for each image that is certified, shared by all of a
            chunk.
    """

    model: Model
    certificate: Literal["lipschitz", "relaxation", "none"] = "none"
    steps: int = 100
    seed: int = 0
    protocol: Protocol = "margins"
    step_size: float | None = None
    value_range: ValueRange = (0.0, 1.0)
    norm: Norm = "linf"
    decided: tuple[float, ...] = ()
    effort: Literal["ibp", "crown", "alpha-crown", "branch-and-bound"] = "crown"
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.protocol not in get_args(Protocol):
            raise ValueError(
                f"`protocol` must be one of {', '.join(get_args(Protocol))}; found"
                f" {self.protocol!r}"
            )
        if self.step_size is not None and (self.protocol != "pgd" or not self.step_size > 0):
            raise ValueError("`step_size` must be above 0 and belongs to the protocol pgd")
        if (self.seconds is not None) != (self.effort == "branch-and-bound"):
            raise ValueError(
                "`seconds` belongs to the effort branch-and-bound, which needs it; found effort"
                f" {self.effort}, seconds {self.seconds}"
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"`seconds` must be above 0 and finite; found {self.seconds}")

    def check(self, guarantee: Guarantee) -> None:
        """Raise unless the protocol can attack this guarantee on this net."""
        check_model(guarantee, self.model)
        one_label = not (guarantee.set_valued or guarantee.counts_rejection_as_right)
        if self.protocol != "margins" and (self.rejects or not one_label):
            raise ValueError(
                f"the protocol {self.protocol} looks for wrong labels of classifiers that never"
                " abstain (guarantee local); for anything else take the protocol margins"
            )

    def doubts(self, radii: Sequence[float]) -> list[str]:
        """Describe what is wrong with the settings of the attack."""
        if self.step_size is None or not radii:
            return []
        return short_steps(self.steps, self.step_size, max(radii))

    first_chunk: ClassVar[int] = 0  # as the others

    @property
    def chunk(self) -> int:
        """Return how many examples a kill may cost: fewer where each takes long."""
        if self.seconds is not None:
            return 10
        return 100 if self.protocol in VERSIONS else 250

    @property
    def rejects(self) -> bool:
        """Return whether the last outcome means "uncertain"."""
        return rejects(self.model)

    def clean_outputs(self, images: Images, guarantee: Guarantee) -> CleanOutputs:
        """Run the net, and its certificate."""
        with torch.no_grad(), frozen(self.model):
            outcomes = outcomes_of(self.model, images)
        sets = guarantee.sets(outcomes)
        radii, details = None, None
        if self.certificate != "none":
            found = self._certified(images, guarantee)
            sets, radii = found.sets, found.radii
            details = self._resting_on(found)
        samples = torch.zeros(len(images), dtype=torch.long)
        score, wins = self._score(images, outcomes), label_wins(outcomes, self.rejects)
        return CleanOutputs(
            outcomes, outcomes.softmax(1), sets, radii, score, samples, wins, details
        )

    def _certified(
        self, images: Images, guarantee: Guarantee, sets: Sets | None = None
    ) -> Certificates:
        if self.certificate == "lipschitz":
            return lipschitz.certify(
                self.model, images, guarantee=guarantee, sets=sets, value_range=self.value_range
            )
        low, high = box_of(self.value_range)
        return relaxation.certify(
            self.model,
            images,
            guarantee=guarantee,
            threat=Threat(self.norm, low=low, high=high),
            radii=self.decided or None,
            effort=self.effort,
            seconds=None if self.seconds is None else self.seconds * len(images),
            sets=sets,
        )

    def _resting_on(self, found: Certificates) -> CertificatePart:
        """Return what the certificates rest on, for the header."""
        details, layers = found.details, tuple(found.details["layers"])
        if self.certificate == "relaxation":
            arithmetic = details["arithmetic"]
            return RelaxationPart(self.effort, arithmetic, layers, self.decided, self.seconds)
        keep = ("norms", "arithmetic", "rounding")
        return LipschitzPart(**{name: details[name] for name in keep}, layers=layers)

    @property
    def certified_norm(self) -> Norm:
        """Return the norm of the certified radii."""
        return self.norm if self.certificate == "relaxation" else "l2"

    def within(self, threat: Threat, radii: tuple[float, ...]) -> "Plain":
        """Return the classifier for an evaluation in a norm and a box, at some radii."""
        box = (threat.low, threat.high)
        return replace(self, value_range=box, norm=threat.norm, decided=radii)

    def attack(
        self, images: Images, sets: Sets, guarantee: Guarantee, threat: Threat
    ) -> AttackResult:
        """Break the sets by the protocol."""
        if self.protocol == "margins":
            return break_sets(
                self.model, images, sets, guarantee, threat, seed=self.seed, steps=self.steps
            )
        if not has_gradient(self.model, images):
            raise ValueError(
                "the model returns no gradient with respect to its images, which the protocol"
                f" {self.protocol} climbs. Take the protocol margins (--protocol margins, the"
                " default): it then searches by Square alone"
            )
        labels = sets[:, 0].int().argmax(1)
        if self.protocol == "pgd":
            attacks = {"pgd": self._pgd(threat)}
            return union(self.model, images, labels, threat=threat, attacks=attacks)
        return autoattack(
            self.model, images, labels, threat=threat, version=self.protocol, seed=self.seed
        )

    def _pgd(self, threat: Threat) -> Proposer:
        size = 2.5 * threat.eps / self.steps if self.step_size is None else self.step_size
        return lambda model, images, labels: pgd(
            model,
            images,
            labels,
            threat=threat,
            steps=self.steps,
            step_size=size,
            random_start=True,
            generator=generator(self.seed),
        )

    bisection_steps: ClassVar[int] = 10
    """How finely the nearest counterexample on the way to a counterexample is looked for."""
    from_largest: ClassVar[bool] = False
    """Whether attacks begin at the largest radius (`attack_down`); else each radius has its own."""

    def for_radii(self, count: int) -> "Plain":
        """Return the classifier for an attack at so many radii: itself, no attack is a test."""
        return self

    def breaks(self, images: Images, sets: Sets, guarantee: Guarantee) -> Tensor:
        """Return at which images the one alternative `[B, 1, O]` fails."""
        with torch.no_grad(), frozen(self.model):
            return guarantee.margins(outcomes_of(self.model, images), sets)[:, 0] <= 0

    def seen(self, images: Images) -> tuple[Outcomes, Outcomes]:
        """Return probabilities of the outcomes, and what decides: the outcomes of the net."""
        with torch.no_grad(), frozen(self.model):
            outcomes = outcomes_of(self.model, images)
        return outcomes.softmax(1), outcomes

    def settle(
        self, image: Images, counterexample: Images, sets: Sets, guarantee: Guarantee
    ) -> tuple[float, bool]:
        """Settle a contradiction about one alternative: (radius, is the counterexample real)."""
        found = self._certified(image, guarantee, sets)
        with torch.no_grad(), frozen(self.model):
            margin = guarantee.margins(outcomes_of(self.model, counterexample), sets)
        return found.radius.item(), bool(margin.item() <= 0)

    @property
    def net(self) -> Model:
        """Return the net that runs."""
        return self.model

    def settings(self) -> dict[str, Any]:
        """Return everything but the net, for the header."""
        keep = ("certificate", "protocol", "steps", "step_size", "seed")
        bounded = ("effort", "seconds") if self.certificate == "relaxation" else ()
        return {name: getattr(self, name) for name in (*keep, *bounded)}

    def describe(self, attacks: Collection[str] = ()) -> AttackPart:
        """Return the attack and its settings, once it is known which searches ran."""
        if self.protocol in VERSIONS:
            name = f"AutoAttack, version {self.protocol}"
            if self.protocol == "fast":
                name = "Auto-PGD on two losses (not AutoAttack)"
            return AttackPart(name, self.seed)
        name = "apgd: soft, hard and targeted margins"
        if "square" in attacks:
            name = f"square alone (no gradients): margins, {QUERIES} queries a step"
        if self.protocol == "pgd":
            name = "pgd on the cross-entropy from a random start"
        return AttackPart(name, self.seed, {"steps": self.steps})

    def _score(self, images: Images, outcomes: Outcomes) -> PerExample:
        if isinstance(self.model, Selective):
            return score_of(self.model.model, images, self.model.score)
        return entropy(outcomes[:, :-1] if self.rejects else outcomes)


@dataclass(frozen=True)
class Smoothed(Sampling):
    """The vote of a net under Gaussian noise, with its smoothing certificate.

    With sigma = 0 it is the vote of a net that is random by itself; nothing is certified then.

    Args:
        vote: net and sigma.
        search: effort of the attack.

    The other fields are those of `Sampling`, its certificate.
    """

    vote: Vote
    search: VoteSearch = field(default_factory=VoteSearch)
    n_certify: int = field(default=10_000, kw_only=True)
    chunk: ClassVar[int] = 50  # counting is slow: a kill should not cost much
    first_chunk: ClassVar[int] = 1
    bisection_steps: ClassVar[int] = 6
    """As of `Plain`; each bisection counts samples."""
    from_largest: ClassVar[bool] = True
    """As of `Plain`; each attack counts samples, too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vote.rule == "majority" and not self.rejects:
            raise ValueError(
                'the rule majority answers a label or "uncertain": give a net that may reject'
                " (Selective; --reject on the command line), or take the rule argmax"
            )

    @property
    def rejects(self) -> bool:
        """Return whether the last outcome means "uncertain"."""
        return self.vote.rejects

    def clean_outputs(self, images: Images, guarantee: Guarantee) -> CleanOutputs:
        """Count the vote, and certify from the same counts."""
        if self.vote.sigma == 0:
            return self._count(images, guarantee)
        found = smoothing.certify_vote(self.vote, images, guarantee, self)
        fractions, outcomes = self._decided(found.details["counts"])
        labels = fractions[:, :-1] if self.rejects else fractions
        details = SmoothingPart(
            self.vote.sigma,
            self.alpha,
            self.n_select,
            self.n_certify,
            error_budget=found.details["error_budget"],
            decided=tuple(self.radii or ()),
            rule=self.vote.rule,
            test=found.details["test"],
            tv_error=found.details["tv_error"],
        )
        # Where a set of labels alone is certified, each of them beats "uncertain".
        labels_only = ~found.sets[:, :, -1] if self.rejects else found.sets.any(2)
        certain = ((found.radii > 0) & labels_only).any(1) & label_wins(outcomes, self.rejects)
        certain = found.details.get("accepted", certain)
        score = 1 - labels.amax(1)
        return CleanOutputs(
            outcomes, fractions, found.sets, found.radii, score, found.samples, certain, details
        )

    def _count(self, images: Images, guarantee: Guarantee) -> CleanOutputs:
        """Count the votes of a net that is random by itself."""
        counts = self.vote.counts(images, self.n_certify, smoothing.CERTIFY, self.seed)
        fractions, outcomes = self._decided(counts)
        score = 1 - (fractions[:, :-1] if self.rejects else fractions).amax(1)
        samples = torch.full((len(images),), self.n_certify)
        wins = label_wins(outcomes, self.rejects)
        return CleanOutputs(
            outcomes, fractions, guarantee.sets(outcomes), None, score, samples, wins, None
        )

    def _decided(self, counts: Counts) -> tuple[Outcomes, Outcomes]:
        """Return the fractions of the votes, and the outcomes of the vote.

        Where broken samples are at least as many as those of any outcome, all outcomes are NaN.
        """
        broken = (counts.broken >= counts.outcomes.amax(1)).unsqueeze(1)
        fractions = counts.fractions
        return fractions, self.vote.outcomes(fractions).masked_fill(broken, torch.nan)

    def check(self, guarantee: Guarantee) -> None:
        """Raise unless the net fits the guarantee."""
        smoothing.check_vote(self.vote, guarantee)

    def doubts(self, radii: Sequence[float]) -> list[str]:
        """Return nothing: the steps of this attack always cross the ball."""
        return []

    def attack(
        self, images: Images, sets: Sets, guarantee: Guarantee, threat: Threat
    ) -> AttackResult:
        """Break the sets by PGD on the mean softmax, confirmed on fresh noise."""
        return break_vote(
            self.vote, images, sets, guarantee, threat, how=self.search, seed=self.seed
        )

    certified_norm: ClassVar[Norm] = "l2"

    def within(self, threat: Threat, radii: tuple[float, ...]) -> "Smoothed":
        """Return the classifier for an evaluation in a box."""
        del radii  # its own are chosen with its error budget
        return replace(self, value_range=(threat.low, threat.high))

    def for_radii(self, count: int) -> "Smoothed":
        """Return the classifier whose tests share alpha: two a radius, bisection, and a check.

        So all that is said of a row (broken, and how near) is wrong with probability alpha at most.
        """
        level = self.search.alpha / (2 * max(count, 1) + self.bisection_steps + 1)
        return replace(self, search=replace(self.search, alpha=level))

    def breaks(self, images: Images, sets: Sets, guarantee: Guarantee) -> Tensor:
        """Return at which images the alternative `[B, 1, O]` fails, at the level of the search."""
        return vote_fails(self.vote, images, sets, guarantee, self.search, self.seed)

    def seen(self, images: Images) -> tuple[Outcomes, Outcomes]:
        """Return the fractions of the outcomes on fresh samples, and the outcomes of the vote."""
        counts = self.vote.counts(images, self.search.n_confirm, 21, self.seed)
        return counts.fractions, self.vote.outcomes(counts.fractions)

    def settle(
        self, image: Images, counterexample: Images, sets: Sets, guarantee: Guarantee
    ) -> tuple[float, bool]:
        """Answer it with fresh noise on both sides at alpha / 1000; the set stays as it was."""
        fresh, strict = self.seed + 1_000_003, self.alpha / 1000
        counts = self.vote.counts(image, self.n_certify, smoothing.CERTIFY, fresh)
        how = {"rule": self.vote.rule, "error": self.vote.tv_error(image) or 0.0}
        radii, _ = smoothing.radii_from_counts(
            counts, sets, guarantee, self.vote.sigma, strict, **how
        )
        search = VoteSearch(**(asdict(self.search) | {"alpha": strict, "n_confirm": 10_000}))
        fails = vote_fails(self.vote, counterexample, sets, guarantee, search, fresh)
        return radii.item(), bool(fails.item())

    @property
    def net(self) -> Model:
        """Return the net that runs."""
        return self.vote.model

    def settings(self) -> dict[str, Any]:
        """Return everything but the net, for the header."""
        keep = ("alpha", "n_select", "n_certify", "seed", "tolerance")
        chosen = {name: getattr(self, name) for name in keep} | {"radii": list(self.radii or ())}
        noise = {name: getattr(self.vote, name) for name in ("sigma", "levels", "rule")}
        return {**noise, **chosen, "search": asdict(self.search)}

    def describe(self, attacks: Collection[str] = ()) -> AttackPart:
        """Return the attack and its settings, once it is known which searches ran."""
        search = "square (no gradients)" if "square-vote" in attacks else "pgd"
        name = f"{search} on the mean softmax, confirmed votes (alpha shared by all radii of a row)"
        return AttackPart(name, self.seed, asdict(self.search))


def label_wins(outcomes: Outcomes, selective: bool) -> Tensor:
    """Return for each row whether a label wins strictly against "uncertain"; NaN does not."""
    finite = outcomes.isfinite().all(1)
    if not selective:
        return finite
    return finite & (outcomes[:, :-1].amax(1) > outcomes[:, -1])


Classifier = Plain | Smoothed
