"""At which radius does each example fall: a grid of attacks, checked against the certificate."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from surefoot.attacks import AttackResult
from surefoot.evaluation.classifiers import Classifier, Plain, Smoothed
from surefoot.evaluation.shards import Costs, add_costs
from surefoot.files import write_whole
from surefoot.guarantees import Guarantee
from surefoot.stats import bisection
from surefoot.threat import Threat, spread
from surefoot.types import Images, Sets

AGAIN = 32
"""Fallen examples that are attacked once more at the largest radius."""
CLEAR_LEAD = 6.0
"""Standard deviations of a count by which an outcome of a vote must lead at the grey image."""


class Contradiction(RuntimeError):
    """An example is certified at a radius at which a confirmed counterexample exists."""


class AttackSweep:
    """Which alternatives have fallen at which radius, and to what; found stays found.

    Args:
        classifier: under attack.
        images: one shard.
        sets: alternatives that hold at the images and are to be broken.
        certified: l2 radii of the alternatives, or None.
        guarantee: gives the quantifier.
        threat: norm and box.
        folder: where the counterexample of a contradiction is left, or None.
        skip_certified: do not attack an example at a radius to which it is certified.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        sets: Sets,
        certified: Tensor | None,
        guarantee: Guarantee,
        threat: Threat,
        folder: Path | None,
        *,
        skip_certified: bool = False,
    ) -> None:
        self.skip_certified, self.skipped = skip_certified, 0
        self.classifier, self.images, self.guarantee = classifier, images, guarantee
        self.sets, self.standing = sets, sets.clone()
        self.certified, self.threat = certified, threat
        self.folder = folder
        holds = sets.any(2).any(1)
        self.radius = torch.where(holds, torch.inf, 0.0).double()
        self.by = ["" if stands else "clean" for stands in holds.tolist()]
        self.adversarial = images.clone()
        self.found: dict[tuple[int, int], Tensor] = {}  # (row, alternative) -> counterexample
        self.nearest = torch.full((len(images),), torch.inf, dtype=torch.float64)
        self.forwards, self.backwards, self.seconds = 0, 0, 0.0
        self.costs: list[Costs] = []
        self.retried = self.missed = self.grey = self.grey_stood = 0

    def attack(self, radius: float) -> None:
        """Attack what still stands, in a ball of this radius."""
        threat = replace(self.threat, eps=radius)
        open_rows = self.standing.any(2).any(1)
        if self.skip_certified and self.certified is not None:
            proven = self.certified.amax(1) >= threat.l2_radius(self.images[0].numel())
            self.skipped += int((open_rows & proven).sum())
            open_rows = open_rows & ~proven
        rows = open_rows.nonzero().flatten()
        if len(rows) == 0:
            return
        result = self._search(rows, self.standing[rows], threat)
        for place, alternative in result.broken.nonzero().tolist():
            row, counterexample = int(rows[place]), result.counterexamples[place, alternative]
            # It may lie inside a certificate that ends before the ball does.
            length = self._length(counterexample, row)
            if not self._contradicts(row, alternative, counterexample, replace(threat, eps=length)):
                self.standing[row, alternative] = False
                self.adversarial[row] = counterexample
                self.found[row, alternative] = counterexample
                if not bool(self.standing[row].any()):
                    self.radius[row] = radius
                    self.by[row] = result.by[place] or "apgd"

    def approach(self) -> None:
        """Look for nearer counterexamples on the way to those found, by bisection.

        A row is as near as the farthest of its alternatives. What turns up inside a certified
        radius is settled as in `attack`.
        """
        if not self.found:
            return
        places = list(self.found)
        rows = torch.tensor([row for row, _ in places], device=self.images.device)
        ways = torch.stack([self.found[place] for place in places]) - self.images[rows]
        sets = torch.stack([self.sets[place] for place in places]).unsqueeze(1)

        def holds(part: Tensor) -> Tensor:
            there = self.images[rows] + spread(part, ways) * ways
            return ~self.classifier.breaks(there, sets, self.guarantee)

        low, high = torch.zeros(len(rows)).to(ways), torch.ones(len(rows)).to(ways)
        _, high = bisection(low, high, holds, self.classifier.bisection_steps)
        there = self.images[rows] + spread(high, ways) * ways
        lengths = self.threat.distance(there, self.images[rows])
        for place, (row, alternative) in enumerate(places):
            length = float(lengths[place])
            if not self._stands_near(row, alternative, there[place], length):
                length = self._length(self.found[row, alternative], row)
            if math.isfinite(self.radius[row]):
                known = self.nearest[row]
                self.nearest[row] = length if known.isinf() else max(float(known), length)

    def _length(self, counterexample: Tensor, row: int) -> float:
        return float(self.threat.distance(counterexample[None], self.images[row : row + 1]))

    def _stands_near(
        self, row: int, alternative: int, counterexample: Tensor, length: float
    ) -> bool:
        """Settle it if the certificate reaches a nearer counterexample; False if that is none."""
        threat = replace(self.threat, eps=length)
        return not self._contradicts(row, alternative, counterexample, threat)

    def check_attack(self, largest: float) -> None:
        """Attack where the answer is known already: what stands there, the attack has missed.

        First, examples that fell at a smaller radius: the largest ball holds that counterexample
        too. Then, claims that fail at the uniformly grey image, in balls that reach it.
        """
        self._again(replace(self.threat, eps=largest))
        self._grey()

    def _again(self, threat: Threat) -> None:
        rows = ((self.radius > 0) & (self.radius < threat.eps)).nonzero().flatten()[:AGAIN]
        if len(rows):
            result = self._search(rows, self.sets[rows], threat, check=True)
            self.retried, self.missed = len(rows), int((~result.success).sum())

    def _grey(self) -> None:
        count, lead, by = 32, 0.0, self.classifier
        low, high = self.threat.low, self.threat.high
        grey = torch.full_like(self.images[:1], (low + high) / 2)
        if isinstance(by, Smoothed):  # slower, and only a clear majority is a fact
            count, lead = 8, CLEAR_LEAD / math.sqrt(by.search.n_confirm)
            # Counted and not certified: grey lies off the grid of whole-number noise.
            outcomes = by.vote.outcomes(by.fractions(grey))
        else:
            outcomes = by.clean_outputs(grey, self.guarantee).outcomes
        sets = self.sets[:count]
        fails = self.guarantee.margins(outcomes.expand(len(sets), -1), sets) < -lead
        sets = sets & fails.unsqueeze(2)
        rows = sets.any(2).any(1).nonzero().flatten()
        if len(rows):
            reach = (high - low) / 2 * (1 + 1e-6)  # the grey pixel is rounded
            if self.threat.norm == "l2":
                reach *= math.sqrt(grey.numel())
            threat = replace(self.threat, eps=reach)
            if isinstance(by, Plain) and by.step_size is not None:  # meant for the headline ball
                by = replace(by, step_size=by.step_size * reach / self.threat.eps)
            result = self._search(rows, sets[rows], threat, check=True, by=by)
            self.grey = int(sets.any(2).sum())
            self.grey_stood = self.grey - int(result.broken.sum())

    def _search(
        self,
        rows: Tensor,
        sets: Sets,
        threat: Threat,
        *,
        check: bool = False,
        by: Classifier | None = None,
    ) -> AttackResult:
        """Attack rows and charge the attacks; what a check finds decides no row and is no find."""
        result = (by or self.classifier).attack(self.images[rows], sets, self.guarantee, threat)
        self.forwards += result.forwards
        self.backwards += result.backwards
        self.seconds += result.seconds
        no_find = {"found": 0} if check else {}
        self.costs.append({name: asdict(cost) | no_find for name, cost in result.costs.items()})
        return result

    def summary(self) -> dict[str, Any]:
        """Return what the attacks took, by name too, and what the checks on them gave."""
        return {
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": round(self.seconds, 3),
            "skipped_certified": self.skipped,
            "retried": self.retried,
            "missed": self.missed,
            "grey": self.grey,
            "grey_stood": self.grey_stood,
            "costs": add_costs(self.costs),
        }

    def _contradicts(
        self, row: int, alternative: int, counterexample: Tensor, threat: Threat
    ) -> bool:
        """Settle a disagreement with the certificate; True if the counterexample is not real."""
        radius = threat.l2_radius(self.images[0].numel())
        if self.certified is None or self.certified[row, alternative] < radius:
            return False
        image, sets = self.images[row : row + 1], self.sets[row, alternative].view(1, 1, -1)
        again, real = self.classifier.settle(image, counterexample[None], sets, self.guarantee)
        if real and again >= radius:
            raise self._contradiction(image[0], counterexample, threat, again)
        self.certified[row, alternative] = min(float(self.certified[row, alternative]), again)
        return not real

    def _contradiction(
        self, image: Tensor, counterexample: Tensor, threat: Threat, certified: float
    ) -> Contradiction:
        where = ""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            pair = {
                "image": image.cpu().contiguous(),
                "counterexample": counterexample.cpu().contiguous(),
            }
            write_whole(self.folder / "contradiction.safetensors", save(pair))
            where = f"; both images are in {self.folder / 'contradiction.safetensors'}"
        return Contradiction(
            f"an example is certified to l2 radius {certified:.6g}, but a confirmed counterexample"
            f" lies inside {threat.norm} {threat.eps:g}{where}. Certificate or attack is wrong:"
            " trust neither until this is explained."
        )

    def counterexamples(self, before: Tensor, first: int) -> dict[str, Tensor]:
        """Return the broken examples as tensors."""
        rows = (self.radius.isfinite() & (self.radius > 0)).nonzero().flatten()
        if len(rows) == 0:
            return {}
        return {
            "index": rows.cpu() + first,
            "images": self.images[rows].cpu(),
            "adversarial": self.adversarial[rows].cpu(),
            "radius": self.radius[rows].cpu(),
            "before": before[rows].cpu().float(),
            "after": self.classifier.fractions(self.adversarial[rows]).cpu().float(),
        }
