"""`surefoot reproduce`: an experiment of a paper beside its published figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Command:
    """Run an experiment of a paper and compare; without a name, list the experiments.

    Args:
        name: of the experiment.
        scale: smoke: seconds, to see that it runs; small: minutes on two cores.
        folder: receives runs, comparison.csv and report.html; a second call resumes.
        seed: of initial weights, training and attacks.
    """

    name: tyro.conf.Positional[str] = ""
    scale: Literal["smoke", "small"] = "small"
    folder: Path | None = None
    seed: int = 0

    def run(self) -> None:
        """Run and compare."""
        from surefoot.cli.show import percent, table
        from surefoot.evaluation.reproduce import EXPERIMENTS
        from surefoot.evaluation.reproduce.run import reproduce
        from surefoot.report import write_page
        from surefoot.stats import Interval

        if not self.name:
            rows = [(name, found.source) for name, found in EXPERIMENTS.items()]
            return table("Experiments", ("name", "source"), rows)
        if self.name not in EXPERIMENTS:
            raise ValueError(
                f"there is no experiment {self.name!r}; there are {', '.join(EXPERIMENTS)}"
            )
        experiment = EXPERIMENTS[self.name]
        folder = self.folder or Path("runs") / f"{self.name}-{self.scale}"
        records, compared = reproduce(experiment, self.scale, folder, seed=self.seed)
        write_page(records, folder / "report.html", title=experiment.source)
        shown = [
            (
                entry.row,
                entry.figure if entry.figure == "clean" else f"{experiment.norm} {entry.figure}",
                "-" if entry.published is None else f"{100 * entry.published:.1f} %",
                percent(Interval(entry.ours, entry.low, entry.high)),
            )
            for entry in compared
        ]
        table(
            f"{experiment.source}, scale {self.scale}",
            ("row", "figure", "published", "ours"),
            shown,
        )
        print(experiment.remark)
        print(f"page: {folder / 'report.html'}")
        return None
