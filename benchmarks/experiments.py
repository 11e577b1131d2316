"""Keep the figures of a finished `surefoot reproduce` as rows: what docs quote has a source.

    python benchmarks/experiments.py smoothing-digits --scale small --folder runs/smoothing-digits

One row for each line of `comparison.csv` goes to results/experiments.jsonl.
"""

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
        experiment: its name.
        folder: that `surefoot reproduce` filled.
        scale: at which it ran.
        seed: of the run.
    """

    experiment: Annotated[str, tyro.conf.Positional]
    folder: Path
    scale: str = "small"
    seed: int = 0


def main(options: Options) -> None:
    """Append the rows."""
    table = pd.read_csv(options.folder / "comparison.csv")
    kept = {"experiment": options.experiment, "scale": options.scale, "seed": options.seed}
    for line in table.astype(object).where(table.notna(), None).to_dict("records"):
        rows.append("experiments", kept | line)
    print(f"{len(table)} rows of {options.experiment} kept")


if __name__ == "__main__":
    main(tyro.cli(Options))
