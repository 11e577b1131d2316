"""Catastrophic overfitting: accuracy under one and under many steps, epoch by epoch."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.lines import curves
from surefoot.papers.experiment import Outcome, Row, Setting, compare
from surefoot.stats import interval

FIGURES = {
    "clean": "validation_accuracy",
    "one step": "validation_one_step_accuracy",
    "many steps": "validation_attacked_accuracy",
}


def overfitting(folder: Path, seed: int, *, rows: Sequence[Row], setting: Setting) -> Outcome:
    """Train the rows under a judge (`Training.judge`) and read its figures of every epoch.

    Args:
        folder: of the runs.
        seed: of everything.
        rows: classifiers.
        setting: sizes; `validation` images are judged.
    """
    compared, lines = [], []
    count = min(setting.training.judge.judge_count or setting.validation, setting.validation)
    for row in rows:
        run, _ = trained(row, setting, folder, seed)
        text = (run / "log.jsonl").read_text(encoding="utf-8")
        log = [json.loads(line) for line in text.splitlines()]
        lines += [
            {"row": row.name, "x": entry["epoch"], "y": entry[FIGURES["many steps"]]}
            for entry in log
        ]
        for figure, column in FIGURES.items():
            total = setting.validation if figure == "clean" else count
            ours = interval(round(log[-1][column] * total), total)
            compared += compare(row.name, {figure: ours}, row.published)
    title = "Accuracy under many steps"
    drawn = partial(curves, pd.DataFrame(lines), title, "epoch", "validation accuracy")
    return Outcome(compared, figures={"overfitting": drawn})
