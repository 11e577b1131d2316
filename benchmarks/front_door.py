"""Run the pages of the documentation as a reader does: each command, its seconds, its first lines.

    SUREFOOT_DATA=... python benchmarks/front_door.py tutorial how-to/own-model how-to/own-data

Each page runs in an empty folder. Rows go to results/front_door.jsonl and replace those of the same
page; docs/transcripts.md is drawn from them.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rows
import tyro

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from docs_blocks import DOCS, in_shell, run  # noqa: E402

STORED = rows.FOLDER / "front_door.jsonl"
HEADING = """# Transcripts

What the commands of the pages print: seconds (and seconds of CPU time, on one thread of a two-core
machine that others used too), the command, and the first lines. Written by
`benchmarks/front_door.py`, from rows in `benchmarks/results/front_door.jsonl`.
"""


@dataclass(frozen=True)
class Options:
    """Which pages.

    Args:
        pages: names of pages under docs/, without .md.
        lines: how many lines of the output of a command are kept.
    """

    pages: tyro.conf.Positional[tuple[str, ...]] = ()
    lines: int = 14


def transcript(page: str, lines: int) -> list[dict]:
    """Run a page; return one row a command."""
    found: list[dict] = []

    def execute(command: str) -> int:
        began, before = time.monotonic(), os.times()
        done = in_shell(command)
        after, seconds = os.times(), round(time.monotonic() - began, 1)
        used = after.children_user + after.children_system
        used = round(used - before.children_user - before.children_system, 1)
        printed = [line.rstrip() for line in done.stdout.splitlines()][:lines]
        row = {"page": page, "command": command, "seconds": seconds, "cpu_seconds": used}
        found.append({**row, "lines": printed})
        print(f"{seconds:6.1f} s  {command}", *printed, sep="\n", flush=True)
        return done.returncode

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(DOCS / f"{page}.md", data="SUREFOOT_DATA" in os.environ, execute=execute)
        os.chdir(ROOT)
    return found


def main(options: Options) -> None:
    """Run the pages, then draw all rows."""
    kept = read(STORED)
    STORED.write_text(
        "".join(json.dumps(row) + "\n" for row in kept if row["page"] not in options.pages),
        encoding="utf-8",
    )
    for page in options.pages:
        for row in transcript(page, options.lines):
            rows.append("front_door", row)
    (DOCS / "transcripts.md").write_text(drawn(), encoding="utf-8")


def drawn() -> str:
    """Return the page of all stored rows, and of those of `wheel.py`."""
    parts, stored = [HEADING], read(STORED)
    for page in sorted({row["page"] for row in stored}):
        parts.append(f"\n## [{page}]({page}.md)\n")
        parts += [told(row) for row in stored if row["page"] == page]
    wheel = read(rows.FOLDER / "wheel.jsonl")
    minutes = sum(row["seconds"] for row in wheel) / 60
    parts.append("\n## The README, from a wheel in an empty environment\n")
    parts.append(f"\n`make wheel-check`: {minutes:.1f} minutes in all, installation included.\n")
    return "".join(parts + [told(row) for row in wheel])


def read(path: Path) -> list[dict]:
    """Read stored rows."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def told(row: dict) -> str:
    """Return one row as a transcript."""
    cpu = f" ({row['cpu_seconds']} s of CPU time)" if "cpu_seconds" in row else ""
    lines = "\n".join([f"$ {' '.join(row['command'].split())}", *row["lines"]])
    return f"\n{row['seconds']} s{cpu}\n\n```text\n{lines}\n```\n"


if __name__ == "__main__":
    main(tyro.cli(Options))
