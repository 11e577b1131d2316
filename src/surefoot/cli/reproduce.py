"""`surefoot reproduce`: an experiment of a paper beside its published figures."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from surefoot.papers import Published

DESCRIPTIONS = Path(__file__).parents[1] / "papers" / "descriptions.toml"


@dataclass(frozen=True)
class Command:
    """Run an experiment of a paper and compare; without a name, list the experiments.

    Args:
        name: Name of the experiment.
        scale: smoke: seconds, to see that it runs; small: minutes on two cores;
            medium: an hour or more on one core; paper: the published settings, for a GPU.
        folder: Receives runs, comparison.csv, experiment.html, figures and, where classifiers were
            evaluated, report.html; a second call resumes.
        seed: Seed of initial weights, training and attacks.
    """

    name: tyro.conf.Positional[str] = ""
    scale: Literal["smoke", "small", "medium", "paper"] = "small"
    folder: Path | None = None
    seed: int = 0

    def run(self) -> None:
        """Run and compare."""
        from surefoot.cli.options import check_seeds, check_unused
        from surefoot.cli.say import say
        from surefoot.cli.show import table

        check_seeds(self.seed)
        described = tomllib.loads(DESCRIPTIONS.read_text(encoding="utf-8"))
        if not self.name:
            check_unused(self, ["scale", "folder", "seed"], "without the name of an experiment")
            rows = [(name, found["source"]) for name, found in described.items()]
            return table("Experiments", ("name", "source"), rows)
        if self.name not in described:
            raise ValueError(
                f"there is no experiment {self.name!r}; there are {', '.join(described)}"
            )
        import torch
        from accelerate import PartialState

        from surefoot.files import locked
        from surefoot.papers import EXPERIMENTS, reproduce, verdicts
        from surefoot.papers.asked import BANNER, SMOKE, read_asked
        from surefoot.papers.drawing.experiment_page import title_of, write_experiment
        from surefoot.report import write_page

        experiment = EXPERIMENTS[self.name]
        if self.scale not in experiment.scales:
            raise ValueError(
                f"{self.name} has the scales {', '.join(experiment.scales)}; found {self.scale!r}"
            )
        folder = self.folder or Path("runs") / f"{self.name}-{self.scale}"
        state = PartialState(cpu=not torch.cuda.is_available())
        with locked(folder, owner=state.is_main_process):
            outcome = reproduce(experiment, self.scale, folder, seed=self.seed)
            if outcome.records:
                write_page(
                    outcome.records, folder / "report.html", title=title_of(experiment, self.scale)
                )
            page = write_experiment(experiment, outcome, folder)
        table(
            title_of(experiment, self.scale),
            ("row", "figure", "published", "ours"),
            [_shown(entry) for entry in outcome.compared],
        )
        for line in verdicts(outcome.compared) + outcome.findings:
            say(line)
        say(read_asked(folder).text())
        say(BANNER if self.scale == SMOKE else experiment.remark)
        say(f"page: {page}")
        return None


def _shown(entry: "Published") -> tuple[str, str, str, str]:
    from surefoot.stats import Interval
    from surefoot.wording import NONE, percent, with_interval

    if not entry.fraction:
        known = NONE if entry.published is None else f"{entry.published:.2f}"
        return entry.row, entry.figure, known, f"{entry.ours:.2f}"
    published = NONE if entry.published is None else percent(entry.published)
    ours = with_interval(Interval(entry.ours, entry.low, entry.high))
    return entry.row, entry.figure, published, ours
