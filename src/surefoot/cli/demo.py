"""`surefoot demo`: the four answers for four digit classifiers, in one table and one page.

Every row is about one classifier: the standard, PGD and UDP nets are judged as votes under noise
(clean, attacked and certified figures of the vote), the Lipschitz net as it stands.
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
    from surefoot.evaluation import Record
    from surefoot.training import Recipe

EPS = 0.5
RADII = (0.125, 0.25, 0.375, 0.5, 0.75)
PLAIN: dict[str, Any] = {"name": "mlp", "inputs": 64, "hidden": (256, 256)}
SMOOTH: dict[str, Any] = {"name": "lipschitz-mlp", "inputs": 64}


@dataclass(frozen=True)
class Command:
    """Train, attack, certify and bound four classifiers of the bundled digits.

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
    n_certify: int = 10_000
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
        from surefoot.threat import Threat
        from surefoot.training import make_recipe

        threat = Threat("l2", EPS)
        records = [
            self._row("standard", PLAIN, make_recipe("standard"), self.epochs, 3e-3),
            self._row("pgd", PLAIN, make_recipe("pgd", threat=threat, steps=7), self.epochs, 3e-3),
            self._row(
                "udp",
                PLAIN,
                make_recipe("udp", threat=Threat("l2", 2 * EPS), steps=10),
                self.epochs,
                3e-3,
            ),
            self._row("lipschitz", SMOOTH, make_recipe("standard"), 2 * self.epochs, 1e-2),
        ]
        page = write_page(records, self.folder / "report.html", title="surefoot demo: digits")
        write_markdown(records, self.folder / "report.md")
        write_whole(self.folder / "bracket.png", to_png(comparison_chart(records)))
        summary = {"models": {record.header.name: summarise(record) for record in records}}
        text = json.dumps(summary, indent=2) + "\n"
        write_whole(self.folder / "summary.json", text.encode())
        show(records)
        say(f"page: {page}")

    def _row(
        self, name: str, net: dict[str, Any], recipe: "Recipe", epochs: int, peak: float
    ) -> "Record":
        """Train one net and evaluate it; both go on after a kill."""
        import torch

        from surefoot.data import load
        from surefoot.evaluation import Plain, Smoothed, bracket
        from surefoot.guarantees import Local
        from surefoot.models import build
        from surefoot.threat import Threat
        from surefoot.training import Training, fit
        from surefoot.uncertainty.vote import Vote

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = build(**net)
        training = Training(epochs=epochs, batch_size=64, learning_rate=peak, seed=self.seed)
        fit(model, load("digits", "train"), recipe, self.folder / name, training=training)
        classifier: Plain | Smoothed = Plain(model, "lipschitz", seed=self.seed)
        if name != "lipschitz":
            vote = Vote(model, self.sigma)
            classifier = Smoothed(vote, n_certify=self.n_certify, seed=self.seed)
        return bracket(
            classifier,
            load("digits").first(self.count),
            guarantee=Local(),
            threat=Threat("l2", EPS),
            radii=RADII,
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
        "eps": EPS,
        "norm": record.header.norm,
    }


def show(records: "list[Record]") -> None:
    """Print one table of the four answers."""
    from surefoot.cli.show import table
    from surefoot.evaluation import metrics
    from surefoot.evaluation.header import SmoothingPart
    from surefoot.wording import NONE, with_interval

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
            )
        )
    names = ("model", "certificate", "certified", "attacked", "clean", "limit (estimate)")
    table(f"Digits, l2 radius {EPS:g}, {len(records[0])} images, 95 % intervals", names, rows)
    for record in records:
        for warning in record.header.warnings:
            say(f"warning ({record.header.name}): {warning}")
