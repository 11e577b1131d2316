"""Keep the figures of a finished `surefoot reproduce` as rows: what docs quote has a source.

    python benchmarks/experiments.py runs/smoothing-digits-small

One row for each line of `comparison.csv` goes to results/experiments.jsonl.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import rows
import tyro


@dataclass(frozen=True)
class Options:
    """Which run.

    Args:
        folder: that `surefoot reproduce` filled.
    """

    folder: Annotated[Path, tyro.conf.Positional]


def main(options: Options) -> None:
    """Append the rows."""
    kept = json.loads((options.folder / "run.json").read_text())
    written = options.folder / "comparison.csv"
    if not written.read_text().strip():
        count = float(len(list(options.folder.glob("*.svg"))))
        drawn = {"row": "figures", "figure": "drawn", "published": None, "fraction": False}
        rows.append("experiments", kept | drawn | dict.fromkeys(("ours", "low", "high"), count))
        print(f"{kept['experiment']} gives figures alone: one row")
        return
    table = pd.read_csv(written)
    for line in table.astype(object).where(table.notna(), None).to_dict("records"):
        rows.append("experiments", kept | line)
    print(f"{len(table)} rows of {kept['experiment']} kept")


if __name__ == "__main__":
    main(tyro.cli(Options))
