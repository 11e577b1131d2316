"""The two classifiers a row can be about: a net as it stands, and its vote under noise.

Both answer the same three questions (what holds at the image, what is certified there, what breaks
it), so the bracket never asks which one it has. Figures of one are never mixed with the other's.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from surefoot.attacks import AttackResult, VoteSearch, break_sets, break_vote
from surefoot.attacks.vote import vote_fails
from surefoot.certify import lipschitz, smoothing
from surefoot.guarantees import Guarantee
from surefoot.models.frozen import frozen
from surefoot.threat import Threat
from surefoot.types import Images, Model, Outcomes, PerExample, Sets, rejects
from surefoot.uncertainty import SCORES, Selective, entropy
from surefoot.uncertainty.vote import Vote


class Look(NamedTuple):
    """What a classifier says at clean images.

    Args:
        outcomes: what decides: outcomes of the net, or counted shares of the vote.
        shares: probabilities of the outcomes, for display.
        sets: alternatives `[B, A, O]`.
        radii: certified l2 radii `[B, A]`, or None.
        score: how unsure, higher = less certain.
        samples: noise draws `[B]`.
        accepted: surely a label wins `[B]`, jointly with the radii.
        details: what the certificate rests on, for the header.
    """

    outcomes: Outcomes
    shares: Outcomes
    sets: Sets
    radii: Tensor | None
    score: PerExample
    samples: Tensor
    accepted: Tensor
    details: dict[str, Any] | None


@dataclass(frozen=True)
class Plain:
    """A net as it stands, with a Lipschitz certificate or none.

    Args:
        model: maps images to outcomes.
        certificate: "lipschitz" or "none".
        steps: of each search of `break_guarantee`.
        seed: of the random starts.
    """

    model: Model
    certificate: Literal["lipschitz", "none"] = "none"
    steps: int = 100
    seed: int = 0
    shard: ClassVar[int] = 250

    @property
    def rejects(self) -> bool:
        """Say whether the last outcome means "uncertain"."""
        return rejects(self.model)

    def look(self, images: Images, guarantee: Guarantee) -> Look:
        """Ask the net, and the Lipschitz certificate."""
        with torch.inference_mode(), frozen(self.model):
            outcomes = self.model(images)
        sets = guarantee.sets(outcomes)
        radii, details = None, None
        if self.certificate == "lipschitz":
            found = lipschitz.certify(self.model, images, guarantee=guarantee)
            sets, radii = found.sets, found.radii
            details = {"method": "lipschitz", "norms": found.details["norms"]}
        samples = torch.zeros(len(images), dtype=torch.long)
        score, wins = self._score(outcomes), label_wins(outcomes, self.rejects)
        return Look(outcomes, outcomes.softmax(1), sets, radii, score, samples, wins, details)

    def attack(
        self, images: Images, sets: Sets, guarantee: Guarantee, threat: Threat
    ) -> AttackResult:
        """Break the sets by Auto-PGD."""
        return break_sets(
            self.model, images, sets, guarantee, threat, seed=self.seed, steps=self.steps
        )

    def shares(self, images: Images) -> Outcomes:
        """Give probabilities of the outcomes."""
        with torch.inference_mode(), frozen(self.model):
            return self.model(images).softmax(1)

    def settle(
        self, image: Images, witness: Images, sets: Sets, guarantee: Guarantee
    ) -> tuple[float, bool]:
        """Answer a contradiction about one alternative: (certified radius, is the witness real)."""
        constants = lipschitz.pairwise(self.model).to(image.device)
        with torch.inference_mode(), frozen(self.model):
            radius = guarantee.lipschitz_radii(self.model(image), sets, constants)
            margin = guarantee.margins(self.model(witness), sets)
        return radius.item(), bool(margin.item() <= 0)

    @property
    def net(self) -> Model:
        """Give the net that runs."""
        return self.model

    def settings(self) -> dict[str, Any]:
        """Give everything but the net, for the header."""
        return {"certificate": self.certificate, "steps": self.steps, "seed": self.seed}

    def describe(self) -> dict[str, Any]:
        """Give the settings of the attack."""
        name = "apgd: soft, hard and targeted margins"
        return {"name": name, "steps": self.steps, "seed": self.seed}

    def _score(self, outcomes: Outcomes) -> PerExample:
        logits = outcomes[:, :-1] if self.rejects else outcomes
        if isinstance(self.model, Selective):
            return SCORES[self.model.score](logits)
        return entropy(logits)


@dataclass(frozen=True)
class Smoothed:
    """The vote of a net under Gaussian noise, with its smoothing certificate.

    Args:
        vote: net and sigma.
        alpha: level of each certificate and of each confirmed attack.
        n_select: copies that fix the sets.
        n_certify: copies that are counted.
        search: effort of the attack.
        seed: of all noise.
    """

    vote: Vote
    alpha: float = 1e-3
    n_select: int = 100
    n_certify: int = 10_000
    search: VoteSearch = field(default_factory=VoteSearch)
    seed: int = 0
    shard: ClassVar[int] = 50  # counting is slow: a kill should not cost much

    @property
    def rejects(self) -> bool:
        """Say whether the last outcome means "uncertain"."""
        return self.vote.rejects

    def look(self, images: Images, guarantee: Guarantee) -> Look:
        """Count the vote, and certify from the same counts."""
        found = smoothing.certify(
            self.vote.model,
            images,
            guarantee=guarantee,
            sigma=self.vote.sigma,
            alpha=self.alpha,
            n_select=self.n_select,
            n_certify=self.n_certify,
            seed=self.seed,
        )
        counts = found.details["counts"].double()
        shares = counts[:, :-1] / counts.sum(1, keepdim=True)
        # A majority of broken copies is nobody's vote: then no outcome may claim anything.
        broken = counts[:, -1:] >= counts[:, :-1].amax(1, keepdim=True)
        outcomes = shares.masked_fill(broken, torch.nan)
        labels = shares[:, :-1] if self.rejects else shares
        details = {
            "method": "smoothing",
            "sigma": self.vote.sigma,
            "alpha": self.alpha,
            "n_select": self.n_select,
            "n_certify": self.n_certify,
            "ledger": found.details["ledger"],
        }
        # For a set of one the radius says it: above 0 that outcome wins. U alone is no label.
        surely = (found.radius > 0) & label_wins(outcomes, self.rejects)
        surely = found.details.get("accepted", surely)
        score = 1 - labels.amax(1)
        return Look(
            outcomes, shares, found.sets, found.radii, score, found.samples, surely, details
        )

    def attack(
        self, images: Images, sets: Sets, guarantee: Guarantee, threat: Threat
    ) -> AttackResult:
        """Break the sets by PGD on the mean softmax, confirmed on fresh noise."""
        return break_vote(
            self.vote, images, sets, guarantee, threat, how=self.search, seed=self.seed
        )

    def shares(self, images: Images) -> Outcomes:
        """Give the vote's shares on fresh copies."""
        counts = self.vote.counts(images, self.search.n_confirm, 21, self.seed).double()
        return counts[:, :-1] / counts.sum(1, keepdim=True)

    def settle(
        self, image: Images, witness: Images, sets: Sets, guarantee: Guarantee
    ) -> tuple[float, bool]:
        """Answer it with fresh noise on both sides at alpha / 1000; the set stays as it was."""
        fresh, strict = self.seed + 1_000_003, self.alpha / 1000
        counts = self.vote.counts(image, self.n_certify, smoothing.CERTIFY, fresh)
        radii, _ = smoothing.radii_from_counts(counts, sets, guarantee, self.vote.sigma, strict)
        search = VoteSearch(**(asdict(self.search) | {"alpha": strict, "n_confirm": 10_000}))
        fails = vote_fails(self.vote, witness, sets, guarantee, search, fresh)
        return radii.item(), bool(fails.item())

    @property
    def net(self) -> Model:
        """Give the net that runs."""
        return self.vote.model

    def settings(self) -> dict[str, Any]:
        """Give everything but the net, for the header."""
        keep = ("alpha", "n_select", "n_certify", "seed")
        chosen = {name: getattr(self, name) for name in keep}
        return {"sigma": self.vote.sigma, **chosen, "search": asdict(self.search)}

    def describe(self) -> dict[str, Any]:
        """Give the settings of the attack."""
        name = "pgd on the mean softmax, confirmed votes"
        return {"name": name, **asdict(self.search), "seed": self.seed}


def label_wins(outcomes: Outcomes, selective: bool) -> Tensor:
    """Say for each row whether a label wins strictly against "uncertain"; NaN does not."""
    finite = outcomes.isfinite().all(1)
    if not selective:
        return finite
    return finite & (outcomes[:, :-1].amax(1) > outcomes[:, -1])


Classifier = Plain | Smoothed
