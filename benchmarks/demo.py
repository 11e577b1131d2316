"""Keep the figures of a `surefoot demo`, and draw its table in docs/measured.md from them.

    python benchmarks/demo.py runs/demo

Rows go to results/demo.jsonl; without a folder only the table is drawn again. `--check` writes
nothing, and fails where the table is not that of the newest rows.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import rows
import tyro

from surefoot.cli.demo import EPS
from surefoot.evaluation import metrics, read
from surefoot.evaluation.record import Record
from surefoot.stats import Interval
from surefoot.wording import NONE, percent, with_interval

PAGE = Path(__file__).parents[1] / "docs" / "measured.md"
BEGIN, END = "<!-- rows: demo -->\n", "<!-- end of the demo -->"
SHARES = ("certified", "attacked", "clean", "limit")


@dataclass(frozen=True)
class Options:
    """What is read.

    Args:
        folder: of a demo; without it nothing is stored.
        check: compare only.
    """

    folder: Annotated[Path | None, tyro.conf.Positional] = None
    check: bool = False


def main(options: Options) -> None:
    """Store, then draw or compare."""
    if options.folder is not None:
        names = json.loads((options.folder / "summary.json").read_text())["models"]
        for name in names:
            rows.append("demo", row(read(options.folder / name)))
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    drawn = f"{before}{BEGIN}\n{table()}\n\n{after}"
    if not options.check:
        PAGE.write_text(drawn, encoding="utf-8")
    elif drawn != text:
        sys.exit("docs/measured.md is not that of the stored demo: python benchmarks/demo.py")


def row(record: Record) -> dict:
    """Return the row of one model."""
    limit = record.header.limit_at(EPS)
    found = {
        "certified": metrics.certified_accuracy(record, EPS),
        "attacked": metrics.attacked_accuracy(record, EPS),
        "clean": metrics.clean_accuracy(record),
        "limit": limit.robustness if limit and limit.valid else None,
    }
    figures = {name: one and asdict(one) for name, one in found.items()}
    more = {"coverage": metrics.coverage(record).value, "size": metrics.mean_set_size(record)}
    stated = "not valid" if limit and not limit.valid else NONE
    return {"model": record.header.name, "n": len(record), **figures, **more, "no limit": stated}


def table() -> str:
    """Return the newest row of each model as Markdown."""
    stored = (rows.FOLDER / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    newest = {one["model"]: one for one in map(json.loads, stored)}
    head = ["model", "certified", "attacked", "clean", "limit (estimate)", "coverage", "set size"]
    lines = [head, ["---"] * len(head)]
    for one in newest.values():
        shares = [
            with_interval(Interval(**one[name])) if one[name] else one["no limit"]
            for name in SHARES
        ]
        lines.append([one["model"], *shares, percent(one["coverage"]), f"{one['size']:.2f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main(tyro.cli(Options))
