"""Clean accuracy over the eps that a net is trained with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from surefoot.papers.accuracy_table import table
from surefoot.papers.drawing.lines import curves
from surefoot.papers.experiment import Outcome, Row, Setting


def over_eps(
    folder: Path, seed: int, *, sweep: Mapping[float, Sequence[Row]], setting: Setting
) -> Outcome:
    """Train every row of every eps and measure clean accuracy: one figure an eps.

    Args:
        folder: of the runs, a folder an eps.
        seed: of everything.
        sweep: eps of the training -> its rows; those of one method have the same name at each.
        setting: sizes.
    """
    compared, records, drawn = [], [], []
    for eps, rows in sweep.items():
        found = table(folder / f"eps-{eps:g}", seed, rows=rows, setting=setting, threats={})
        records += found.records
        compared += [replace(entry, figure=f"eps {eps:g}") for entry in found.compared]
        drawn += [{**vars(entry), "x": eps, "y": entry.ours} for entry in found.compared]
    title, across = "Clean accuracy over the eps of the training", "linf eps of the training"
    figure = partial(curves, pd.DataFrame(drawn), title, across, "clean accuracy")
    return Outcome(compared, records, {"eps": figure})
