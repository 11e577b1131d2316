"""At which radius does each example fall: a grid of attacks, checked against the certificate."""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from surefoot.evaluation.classifiers import Classifier
from surefoot.files import write_whole
from surefoot.guarantees import Guarantee
from surefoot.threat import Threat
from surefoot.types import Images, Sets


class Contradiction(RuntimeError):
    """An example is certified at a radius at which a confirmed counterexample exists."""


class Fall:
    """Which alternatives have fallen at which radius, and to what; found stays found.

    Args:
        classifier: under attack.
        images: one shard.
        sets: alternatives that hold at the images and are to be broken.
        certified: l2 radii of the alternatives, or None.
        guarantee: gives the quantifier.
        threat: norm and box.
        folder: where the witness of a contradiction is left, or None.
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
        self.standing, self.certified, self.threat = sets.clone(), certified, threat
        self.folder = folder
        holds = sets.any(2).any(1)
        self.radius = torch.where(holds, torch.inf, 0.0).double()
        self.by = ["" if stands else "clean" for stands in holds.tolist()]
        self.adversarial = images.clone()
        self.forwards, self.backwards, self.seconds = 0, 0, 0.0

    def attack(self, radius: float) -> None:
        """Attack what still stands, in a ball of this radius."""
        threat = Threat(self.threat.norm, radius, self.threat.low, self.threat.high)
        open_rows = self.standing.any(2).any(1)
        if self.skip_certified and self.certified is not None:
            proven = self.certified.amax(1) >= threat.l2_radius(self.images[0].numel())
            self.skipped += int((open_rows & proven).sum())
            open_rows = open_rows & ~proven
        rows = open_rows.nonzero().flatten()
        if len(rows) == 0:
            return
        sets = self.standing[rows]
        result = self.classifier.attack(self.images[rows], sets, self.guarantee, threat)
        self.forwards += result.forwards
        self.backwards += result.backwards
        self.seconds += result.seconds
        for place, alternative in result.broken.nonzero().tolist():
            row, witness = int(rows[place]), result.witnesses[place, alternative]
            if not self._contradicts(row, alternative, witness, threat):
                self.standing[row, alternative] = False
                self.adversarial[row] = witness
                if not bool(self.standing[row].any()):
                    self.radius[row] = radius
                    self.by[row] = result.by[place] or "apgd"

    def _contradicts(self, row: int, alternative: int, witness: Tensor, threat: Threat) -> bool:
        """Settle a disagreement with the certificate; True if the witness turned out not real."""
        radius = threat.l2_radius(self.images[0].numel())
        if self.certified is None or self.certified[row, alternative] < radius:
            return False
        image, sets = self.images[row : row + 1], self.standing[row, alternative].view(1, 1, -1)
        again, real = self.classifier.settle(image, witness[None], sets, self.guarantee)
        if real and again >= radius:
            raise self._contradiction(image[0], witness, threat, again)
        self.certified[row, alternative] = min(float(self.certified[row, alternative]), again)
        return not real

    def _contradiction(
        self, image: Tensor, witness: Tensor, threat: Threat, certified: float
    ) -> Contradiction:
        where = ""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            pair = {"image": image.cpu().contiguous(), "witness": witness.cpu().contiguous()}
            write_whole(self.folder / "contradiction.safetensors", save(pair))
            where = f"; both images are in {self.folder / 'contradiction.safetensors'}"
        return Contradiction(
            f"an example is certified to l2 radius {certified:.6g}, but a confirmed counterexample"
            f" lies inside {threat.norm} {threat.eps:g}{where}. Certificate or attack is wrong:"
            " trust neither until this is explained."
        )

    def witnesses(self, before: Tensor, first: int) -> dict[str, Tensor]:
        """Give the broken examples as tensors."""
        rows = (self.radius.isfinite() & (self.radius > 0)).nonzero().flatten()
        if len(rows) == 0:
            return {}
        return {
            "index": rows.cpu() + first,
            "images": self.images[rows].cpu(),
            "adversarial": self.adversarial[rows].cpu(),
            "radius": self.radius[rows].cpu(),
            "before": before[rows].cpu().float(),
            "after": self.classifier.shares(self.adversarial[rows]).cpu().float(),
        }
