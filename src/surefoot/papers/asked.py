"""What an experiment is asked to run: it stands on its page and beside every stored figure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from surefoot.files import write_json
from surefoot.papers.experiment import Experiment, Setting
from surefoot.typed import from_json

SMOKE = "smoke"
BANNER = (
    "Smoke run: digits, toys and small nets in place of the paper's data and nets. It shows that"
    " everything runs, and nothing about the paper."
)


@dataclass(frozen=True)
class AskedRun:
    """What was run.

    Args:
        experiment: its name.
        scale: "smoke", "small", "medium" or "paper".
        seed: of initial weights, training and attacks.
        day: on which it ended, ISO.
        data: data sets.
        size: images that train and images that are evaluated, in words.
        net: nets.
        epochs: of training; "" without any.
    """

    experiment: str
    scale: str
    seed: int
    day: str
    data: str
    size: str
    net: str
    epochs: str

    def text(self) -> str:
        """Return one line for the page and below each figure."""
        training = f"{self.epochs} epochs" if self.epochs else ""
        parts = (self.data, self.size, self.net, training, f"seed {self.seed}")
        said = "; ".join(part for part in parts if part)
        return f"{self.experiment}, scale {self.scale}: {said}; {self.day}"

    def write(self, folder: Path) -> None:
        """Write `run.json`."""
        write_json(asdict(self), folder / "run.json")


def read_asked(folder: Path) -> AskedRun:
    """Read what `AskedRun.write` wrote."""
    return from_json(AskedRun, json.loads((folder / "run.json").read_text(encoding="utf-8")), "")


def asked_run(experiment: Experiment, scale: str, seed: int) -> AskedRun:
    """Return what an experiment runs at a scale, read from its settings."""
    keywords = experiment.scales[scale].keywords
    settings = list(_settings(keywords))
    data = [one.data for one in settings] or _named(keywords.get("data", _toys(keywords)))
    data = data or ["two points on a line"] * ("means" in keywords)
    sizes = [f"{_count(one.train)} train, {_count(one.test)} evaluated" for one in settings]
    if not sizes and keywords.get("count"):
        sizes = [f"{keywords['count']:,} {'chains' if 'means' in keywords else 'points'}"]
    nets = [str(net) for one in settings for net in _nets(one, keywords)]
    epochs = [str(one.training.epochs) for one in settings if one.training.epochs]
    return AskedRun(
        experiment.name,
        scale,
        seed,
        date.today().isoformat(),
        *(", ".join(dict.fromkeys(part)) for part in (data, sizes, nets, epochs)),
    )


def _settings(keywords: Mapping[str, Any]) -> Iterator[Setting]:
    """Find the settings of training and evaluation, shared or of each net."""
    for one in keywords.values():
        setting = getattr(one, "setting", one)
        if isinstance(setting, Setting):
            yield setting
    for one in keywords.get("subjects", ()):
        yield one.setting


def _nets(setting: Setting, keywords: Mapping[str, Any]) -> list[str]:
    """Name the nets of the rows; the nets of the setting where a row has none of its own."""
    rows = [getattr(row, "row", row) for row in keywords.get("rows", keywords.get("nets", ()))]
    changed = [{**setting.net, **row.net} for row in rows] or [setting.net]
    return [_net(net) for net in changed if "name" in net]


def _net(net: Mapping[str, Any]) -> str:
    inner = net.get("model", net)
    if "nets" in net:
        return f"{len(net['nets'])} x {_net(net['nets'][0])}"
    size = {name: inner[name] for name in ("width", "planes", "hidden") if name in inner}
    told = ", ".join(f"{name} {value}" for name, value in size.items())
    return f"{inner['name']} ({told})" if told else str(inner["name"])


def _named(data: Any) -> list[str]:
    return [data] if isinstance(data, str) else list(data)


def _toys(keywords: Mapping[str, Any]) -> list[str]:
    cells = (cell.toy for cell in keywords.get("cells", ()))
    return [keywords["toy"]] if "toy" in keywords else list(dict.fromkeys(cells))


def _count(images: int) -> str:
    return f"{images:,}" if images else "all"
