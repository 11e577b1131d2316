"""Run an experiment and keep what it gives; say where the method wins and where it loses."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from surefoot.files import write_csv
from surefoot.papers.asked import SMOKE, asked_run
from surefoot.papers.experiment import Experiment, Outcome, Published

OURS = ("udp", "ls-udp")
"""How the names of rows under test begin; the other rows are what they are compared with."""


def reproduce(experiment: Experiment, scale: str, folder: Path, *, seed: int = 0) -> Outcome:
    """Run at a scale; a second call goes on where the first was killed.

    A smoke run stands beside no published figure: its data and nets are not those of the paper.

    Args:
        experiment: of `EXPERIMENTS`.
        scale: a name of `experiment.scales`.
        folder: receives a run folder a row, `comparison.csv` and `run.json`.
        seed: of initial weights, training and attacks.
    """
    if scale not in experiment.scales:
        raise ValueError(
            f"this experiment has the scales {', '.join(experiment.scales)}; found {scale!r}"
        )
    outcome = experiment.scales[scale](folder, seed)
    if scale == SMOKE:
        alone = [replace(entry, published=None) for entry in outcome.compared]
        outcome = replace(outcome, compared=alone)
    folder.mkdir(parents=True, exist_ok=True)
    asked_run(experiment, scale, seed).write(folder)
    frame = pd.DataFrame([asdict(entry) for entry in outcome.compared])
    write_csv(frame, folder / "comparison.csv")
    return outcome


def verdicts(compared: Sequence[Published]) -> list[str]:
    """Return for each figure whether the best row under test wins or loses against the best other.

    A difference counts only where each lies outside the other's interval; beside it is the
    difference in the paper, where both rows have a published figure.
    """
    found = []
    for figure in dict.fromkeys(entry.figure for entry in compared):
        entries = [entry for entry in compared if entry.figure == figure and entry.fraction]
        tested = [entry for entry in entries if entry.row.startswith(OURS)]
        others = [entry for entry in entries if not entry.row.startswith(OURS)]
        if tested and others:
            found.append(_verdict(figure, _best(tested), _best(others)))
    return found


def _best(entries: Sequence[Published]) -> Published:
    return max(entries, key=lambda entry: entry.ours)


def _verdict(figure: str, ours: Published, other: Published) -> str:
    gap = 100 * (ours.ours - other.ours)
    apart = ours.ours > other.high and other.ours < ours.low
    behind = ours.ours < other.low and other.ours > ours.high
    word = "wins" if apart else "loses" if behind else "is within the intervals"
    text = f"{figure}: {ours.row} {word}, {gap:+.1f} points against {other.row}"
    if ours.published is None or other.published is None:
        return text
    return f"{text} (published {100 * (ours.published - other.published):+.1f})"
