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
    table = pd.read_csv(options.folder / "comparison.csv")
    kept = json.loads((options.folder / "run.json").read_text())
    for line in table.astype(object).where(table.notna(), None).to_dict("records"):
        rows.append("experiments", kept | line)
    print(f"{len(table)} rows of {kept['experiment']} kept")


if __name__ == "__main__":
    main(tyro.cli(Options))
