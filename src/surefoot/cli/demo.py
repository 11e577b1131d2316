"""`surefoot demo`: the four answers for six digit classifiers, in one table and one page.

Every row is about one classifier: the standard, PGD and UDP nets are judged as votes under noise
(clean, attacked and certified figures of the vote), the Lipschitz net as it stands. Then the vote
of the UDP net may reject (radius (ii): the same label, or uncertain), and the Lipschitz net may
answer with two labels (relaxed top-k).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli.options import check_seeds
from surefoot.cli.say import say
from surefoot.files import locked, write_whole

if TYPE_CHECKING:
    from torch import nn

    from surefoot.evaluation import Plain, Record, Smoothed
    from surefoot.guarantees import Guarantee
    from surefoot.training import Recipe

EPS = 0.5
RADII = (0.125, 0.25, 0.375, 0.5, 0.75)
PLAIN: dict[str, Any] = {"name": "mlp", "inputs": 64, "hidden": (256, 256)}
SMOOTH: dict[str, Any] = {"name": "lipschitz-mlp", "inputs": 64}
COVERAGE = 0.9
"""Fraction of noisy training images that the vote may not reject."""
STEPS = 40
"""Of each attack on the Lipschitz net."""


@dataclass(frozen=True)
class Command:
    """Train, attack, certify and bound classifiers of the bundled digits: labels, rejection, sets.

    Args:
        folder: Receives report.html, bracket.png, summary.json and a run folder a model; a second
            call goes on where the first was killed.
        count: Test images (500 at most).
        epochs: Epochs of each training; the Lipschitz net takes twice as many of its cheap ones.
        n_certify: Noise samples of each image.
        sigma: Noise of the votes.
        seed: Seed of everything.
    """

    folder: Path = Path("runs/demo")
    count: int = 500
    epochs: int = 30
    n_certify: int = 5_000
    sigma: float = 0.25
    seed: int = 0

    def run(self) -> None:
        """Train, evaluate, write, show."""
        import torch
        from accelerate import PartialState

        self._check()
        # Nets this small gain little from a second thread, and lose much where cores are busy.
        torch.set_num_threads(1)
        state = PartialState(cpu=not torch.cuda.is_available())
        with locked(self.folder, owner=state.is_main_process):
            self._run()

    def _check(self) -> None:
        """Raise on settings that would only fail after a training."""
        from surefoot.data import load

        check_seeds(self.seed)
        load("digits").first(self.count)
        if self.epochs < 1 or self.n_certify < 1 or not 0 < self.sigma < math.inf:
            raise ValueError(
                "need --epochs and --n-certify of at least 1, and a finite --sigma above 0; found"
                f" {self.epochs}, {self.n_certify} and {self.sigma:g}"
            )

    def _run(self) -> None:
        from surefoot.report import comparison_chart, write_markdown, write_page
        from surefoot.report.style import to_png

        say(
            "six classifiers of handwritten digits: trained, attacked, certified and compared, in"
            " about two minutes on one core; nothing is downloaded"
        )
        records = self._records()
        page = write_page(records, self.folder / "report.html", title="surefoot demo: digits")
        write_markdown(records, self.folder / "report.md")
        write_whole(self.folder / "bracket.png", to_png(comparison_chart(records)))
        summary = {"models": {record.header.name: summarise(record) for record in records}}
        text = json.dumps(summary, indent=2) + "\n"
        write_whole(self.folder / "summary.json", text.encode())
        show(records)
        say(f"page: {page}")

    def _records(self) -> "list[Record]":
        """Evaluate the nets, then the two that may reject and may answer with a set."""
        from surefoot.guarantees import LabelOrUncertain, Local, RelaxedTopK
        from surefoot.threat import Threat
        from surefoot.training import make_recipe

        threat, wide = Threat("l2", EPS), Threat("l2", 2 * EPS)
        recipes = {
            "standard": make_recipe("standard"),
            "pgd": make_recipe("pgd", threat=threat, steps=7),
            "udp": make_recipe("udp", threat=wide, steps=10),
        }
        nets = {
            name: self._trained(name, PLAIN, recipe, self.epochs, 3e-3)
            for name, recipe in recipes.items()
        }
        smooth = self._trained("lipschitz", SMOOTH, recipes["standard"], 2 * self.epochs, 1e-2)
        rejecting = self._vote(self._rejecting(nets["udp"]))
        return [
            *(self._evaluated(name, self._vote(net), Local()) for name, net in nets.items()),
            self._evaluated("lipschitz", self._plain(smooth), Local()),
            self._evaluated("udp, may reject", rejecting, LabelOrUncertain()),
            self._evaluated("lipschitz, sets of 1 or 2", self._plain(smooth), RelaxedTopK(2)),
        ]

    def _trained(
        self, name: str, net: dict[str, Any], recipe: "Recipe", epochs: int, peak: float
    ) -> "nn.Module":
        """Train a net, or read it back; goes on after a kill."""
        import torch

        from surefoot.data import load
        from surefoot.models import build
        from surefoot.training import Training, fit

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = build(**net)
        training = Training(epochs=epochs, batch_size=64, learning_rate=peak, seed=self.seed)
        fit(model, load("digits", "train"), recipe, self.folder / name, training=training)
        return model

    def _vote(self, model: "nn.Module") -> "Smoothed":
        from surefoot.evaluation import Smoothed
        from surefoot.uncertainty.vote import Vote

        return Smoothed(Vote(model, self.sigma), n_certify=self.n_certify, seed=self.seed)

    def _plain(self, model: "nn.Module") -> "Plain":
        from surefoot.evaluation import Plain

        return Plain(model, "lipschitz", steps=STEPS, seed=self.seed)

    def _rejecting(self, model: "nn.Module") -> "nn.Module":
        """Let a net answer "uncertain"; the threshold is chosen on training images."""
        from surefoot.data import load
        from surefoot.uncertainty import Selective, by_coverage

        images = load("digits", "train").inputs(slice(None))
        threshold, _ = by_coverage(model, images, "entropy", COVERAGE, sigma=self.sigma)
        return Selective(model, "entropy", threshold).eval()

    def _evaluated(
        self, name: str, classifier: "Plain | Smoothed", guarantee: "Guarantee"
    ) -> "Record":
        """Evaluate one classifier; goes on after a kill."""
        from surefoot.data import load
        from surefoot.evaluation import bracket
        from surefoot.threat import Threat

        return bracket(
            classifier,
            load("digits").first(self.count),
            guarantee=guarantee,
            threat=Threat("l2", EPS),
            radii=RADII,
            others=load("digits", "train"),
            folder=self.folder / name,
            name=name,
            command="surefoot demo",
        )


def summarise(record: "Record") -> dict[str, Any]:
    """Return the four answers at the headline radius, as fractions."""
    from surefoot.evaluation import metrics

    certified = metrics.certified_accuracy(record, EPS)
    limit = record.header.limit_at(EPS)
    return {
        "clean": metrics.clean_accuracy(record).value,
        "attacked": metrics.attacked_accuracy(record, EPS).value,
        "certified": certified.value if certified else None,
        "limit": limit.robustness.value if limit and limit.robustness else None,
        "coverage": metrics.coverage(record).value,
        "set size": metrics.mean_set_size(record),
        "eps": EPS,
        "norm": record.header.norm,
    }


def show(records: "list[Record]") -> None:
    """Print one table of the four answers, and what rejection and sets cost."""
    from surefoot.cli.show import table
    from surefoot.evaluation import metrics
    from surefoot.evaluation.header import SmoothingPart
    from surefoot.wording import NONE, percent, with_interval

    rows = []
    for record in records:
        by, limit = record.header.certificate, record.header.limit_at(EPS)
        how = by.method if by else NONE
        if isinstance(by, SmoothingPart):
            how = f"vote, sigma {by.sigma:g}"
        rows.append(
            (
                record.header.name,
                how,
                with_interval(metrics.certified_accuracy(record, EPS)),
                with_interval(metrics.attacked_accuracy(record, EPS)),
                with_interval(metrics.clean_accuracy(record)),
                limit.text() if limit else NONE,
                percent(metrics.coverage(record).value),
                f"{metrics.mean_set_size(record):.2f}",
            )
        )
    names = ("model", "certificate", "certified", "attacked", "clean", "limit (estimate)")
    names += ("coverage", "set size")
    table(f"Digits, l2 radius {EPS:g}, {len(records[0])} images, 95 % intervals", names, rows)
    for record in records:
        for warning in record.header.warnings:
            say(f"warning ({record.header.name}): {warning}")
