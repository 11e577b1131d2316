"""What experiments cost: CPU minutes of runs here, and the training of the published scale.

    python benchmarks/costs.py LOGS

LOGS is a folder of logs NAME-SCALE-SEED.log that end with the output of bash's `time`, and of files
NAME.time with "S user". One row a log goes to results/costs.jsonl: CPU minutes of one thread, and
what training takes, in floating-point operations, at that scale and as published (images x epochs x
gradients an image x 3 forward passes, counted by torch); for experiments without a log the latter
alone. Attacks and certificates at the published scale are not estimated.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import rows
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from surefoot.data import load
from surefoot.papers import EXPERIMENTS
from surefoot.papers.experiment import Row, Setting, net_of

NOT_AT_HAND = ("udp-svhn", "gloro-eurosat", "gloro-tiny-imagenet")
"""Their data come from the network."""


@dataclass(frozen=True)
class Options:
    """Where the logs are.

    Args:
        logs: folder.
    """

    logs: Annotated[Path, tyro.conf.Positional]


def measured(folder: Path) -> Iterator[tuple[str, str, int, float]]:
    """Yield experiment, scale, seed and CPU minutes of each log of a run that ended."""
    for path in sorted(folder.glob("*.log")):
        named = re.fullmatch(r"(.+)-(small|medium)(?:-(\d+))?", path.stem)
        spent = re.findall(r"^user\s+(\d+)m([\d.]+)s", path.read_text(errors="replace"), re.M)
        if named and spent and named[1] in EXPERIMENTS:
            minutes = sum(int(part) + float(seconds) / 60 for part, seconds in spent)
            yield named[1], named[2], int(named[3] or 0), minutes
    for path in sorted(folder.glob("*.time")):
        words = path.read_text().split()
        if words:
            yield path.stem, "small", 0, float(words[0]) / 60


def training_operations(experiment: str, scale: str) -> float | None:
    """Return the operations of all trainings; None where the experiment has no table of rows."""
    keywords = EXPERIMENTS[experiment].scales[scale].keywords
    setting, tables = keywords.get("setting"), keywords.get("rows", keywords.get("nets"))
    if not isinstance(setting, Setting) or tables is None:
        return None
    return sum(_of_row(setting, getattr(row, "row", row)) for row in tables)


@cache
def _training_split(data: str) -> tuple[int, torch.Tensor]:
    """Return how many training images there are, and two of them."""
    training = load(data, "train")
    return len(training), training.batch(slice(0, 2))[0]


def _of_row(setting: Setting, row: Row) -> float:
    count, image = _training_split(setting.data)
    count = setting.train or count - setting.validation
    net = net_of(setting, row, 0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    forward = counter.get_total_flops() / len(image)
    search: Any = row.recipe.perturbation
    steps = getattr(search, "steps", 0) or 0
    if getattr(search, "step_counts", "fixed") != "fixed":
        steps = (steps + 1) / 2
    epochs = row.training.get("epochs", setting.training.epochs)
    return count * epochs * (1 + steps) * 3 * forward


def main(options: Options) -> None:
    """Store and print."""
    logged = set[str]()
    for experiment, scale, seed, minutes in measured(options.logs):
        here = training_operations(experiment, scale)
        full = training_operations(experiment, "paper")
        row = {"experiment": experiment, "scale": scale, "seed": seed, "cpu_minutes": minutes}
        row |= {"training": here, "published_training": full}
        rows.append("costs", row)
        told = "" if full is None or not here else f", published {full / here:,.0f} times that"
        print(f"{experiment} {scale} {seed}: {minutes:.1f} CPU minutes{told}")
        logged.add(experiment)
    for experiment in EXPERIMENTS:
        if experiment in logged or experiment in NOT_AT_HAND:
            continue
        full = training_operations(experiment, "paper")
        row = {"experiment": experiment, "scale": "paper", "seed": 0, "cpu_minutes": None}
        if full is not None:
            rows.append("costs", row | {"training": None, "published_training": full})


if __name__ == "__main__":
    main(tyro.cli(Options))
