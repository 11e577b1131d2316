"""`surefoot limit`: how robust could any classifier be on these data, estimated and proven."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli.declared import declared, real
from surefoot.cli.options import Rows, boxed, check_seeds, command_line

GOAL: Any = declared("surefoot.limits.goal", "Goal", without=("eps", "norm"))(risk=0.05, gamma=0.0)
if TYPE_CHECKING:
    from surefoot.data import Data
    from surefoot.limits.goal import Goal
    from surefoot.threat import Threat
else:
    Threat, Goal = declared("surefoot.threat", "Threat"), type(GOAL)

Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """Estimate the limit: one minus the smallest expansion of an error region that was found.

    Half of the rows search a region, a quarter calibrates it, a quarter reports. Beside it is a
    ceiling that is proven for exactly these rows: points of different labels whose balls meet
    cannot both be right and robust.

    Args:
        rows: The images; label uncertainty needs human labels (cifar10h, cifar10n, or an .npz with
            probabilities), else it is 0.
        threat: The ball around each image.
        radii: Grid of radii; the headline radius is always in it.
        goal: The error region, and how it is searched for.
        ceiling: Prove the ceiling of these rows, too; it takes minutes for tens of thousands.
        splits: Number of random splits; more than one also shows mean and standard deviation. The
            numbers of a radius are those of the first.
        shard: Work off every n-th task alone (a radius of an estimate, of a split, of a ceiling),
            as 3/64 for the third of 64, in a folder of its own within --folder; surefoot report
            FOLDER merges them.
        folder: Folder that receives limit.json; a second call resumes.
    """

    daily = (
        *("data", "count", "norm", "eps", "radii", "risk", "gamma", "family", "components"),
        *("splits", "ceiling", "seed", "folder"),
    )
    rows: Rows = field(default_factory=lambda: Rows(count=0))
    threat: Threat = field(default_factory=lambda: Threat("l2", 0.5))
    radii: tuple[float, ...] = ()
    goal: Goal = GOAL
    ceiling: bool = True
    splits: int = 1
    shard: str = ""
    folder: Path = Path("runs/limit")

    def run(self) -> None:
        """Estimate, write, show."""
        from surefoot.cli.say import is_first, say
        from surefoot.evaluation.bracket import grid_of
        from surefoot.evaluation.limit_tasks import NAME, LimitTasks
        from surefoot.evaluation.shards import Shard
        from surefoot.limits.goal import Goal as RealGoal

        check_seeds(self.goal.seed)
        if not 0 <= self.goal.delta < 1:
            raise ValueError(f"--delta must lie in [0, 1), a measure; found {self.goal.delta:g}")
        shard = Shard.read(self.shard) if self.shard else None
        data, _ = self.rows.load()
        threat: Any = boxed(real(self.threat), data)
        for doubt in threat.doubts(data.inputs(slice(0, 32))):
            say(f"warning: {doubt}")
        goal = RealGoal(**vars(self.goal), eps=threat.eps, norm=threat.norm)
        grid = grid_of(self.radii, threat)
        tasks = LimitTasks(data, threat, grid, goal, self.ceiling, self.splits)
        folder = shard.folder(self.folder) if shard else self.folder
        found = tasks.run(folder, shard, command_line())
        if not is_first():
            return
        if not shard:
            self._show_estimates(data, found["estimates"])
            if self.ceiling:
                self._show_ceilings(data, found["ceilings"])
        say(f"limit: {folder / NAME}")

    def _show_estimates(self, data: "Data", entries: Entries) -> None:
        from surefoot.cli.show import table
        from surefoot.stats import Interval
        from surefoot.wording import with_interval

        def interval(found: dict[str, float] | None) -> str:
            return with_interval(Interval(**found) if found else None)

        wanted = f"risk >= {self.goal.risk:g}, gamma >= {self.goal.gamma:g}"
        names = ("robustness (estimate)", "held-out risk", "calibrated", "status")
        table(
            f"Estimated limit of {data.name}, {wanted}",
            (f"{self.threat.norm} radius", "family", *names),
            [
                (
                    f"{entry['radius']:g}",
                    entry["family"],
                    interval(entry["robustness"]),
                    interval(entry["risk"]),
                    entry["calibrated"],
                    _status(entry),
                )
                for entry in entries
            ],
        )
        for entry in entries:
            if "splits" in entry:
                mean, sd = entry["adversarial_risk_over_splits"].values()
                print(
                    f"radius {entry['radius']:g}: robustness {_percent(1 - mean)} +- {_percent(sd)}"
                    f" over {entry['splits']} splits, valid in {entry['valid_splits']:.0%}"
                )
        print("An estimate from one found region, not a proof; see docs/limits.md.")

    def _show_ceilings(self, data: "Data", proven: dict[str, Entries]) -> None:
        from surefoot.cli.show import table

        table(
            f"Proven for these {len(data)} rows: no classifier is right and robust on more",
            (f"{self.threat.norm} radius", "local", "accepted and right, or uncertain"),
            [
                (f"{local['radius']:g}", _ceiling(local), _ceiling(uncertain))
                for local, uncertain in zip(*proven.values(), strict=True)
            ],
        )


def _status(entry: dict[str, Any]) -> str:
    if not entry["feasible"]:
        return "infeasible"
    return "valid" if entry["valid"] else "not valid"


def _ceiling(entry: dict[str, Any]) -> str:
    """Write a ceiling, and what annotators leave of it."""
    text = f"{_percent(entry['value'])} ({entry['conflicts']:,} conflicts)"
    if entry["agreement"] is not None:
        text += f", agreement with an annotator {_percent(entry['agreement'])}"
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"
