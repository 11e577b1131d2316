"""Run an experiment: train and evaluate each row, and set the figures beside the published ones."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from surefoot.data import load
from surefoot.evaluation import figures
from surefoot.evaluation.bracket import bracket
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.evaluation.reproduce.experiment import Experiment, Published, Row, Setting
from surefoot.files import write_whole
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import fit


def reproduce(
    experiment: Experiment, scale: str, folder: Path, *, seed: int = 0
) -> tuple[list[Record], list[Published]]:
    """Run all rows at a scale; a second call goes on where the first was killed.

    Args:
        experiment: of `EXPERIMENTS`.
        scale: a name of `experiment.scales`.
        folder: receives a run folder a row and `comparison.csv`.
        seed: of initial weights, training and attacks.

    Returns:
        records, and the figures beside the published ones.
    """
    if scale not in experiment.scales:
        raise ValueError(
            f"this experiment has the scales {', '.join(experiment.scales)}; found {scale!r}"
        )
    setting = experiment.scales[scale]
    records = [_row(experiment, row, setting, folder, seed) for row in experiment.rows]
    pairs = zip(experiment.rows, records, strict=True)
    compared = [entry for row, record in pairs for entry in _compare(experiment, row, record)]
    frame = pd.DataFrame([asdict(entry) for entry in compared])
    write_whole(folder / "comparison.csv", frame.to_csv(index=False).encode())
    return records, compared


def _row(experiment: Experiment, row: Row, setting: Setting, folder: Path, seed: int) -> Record:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(**setting.net)
    data = load(setting.data, "train").first(setting.train)
    run = fit(model, data, row.recipe, folder / row.name, training=setting.training)
    return bracket(
        Plain(model, steps=setting.steps, seed=seed),
        load(setting.data).first(setting.test),
        guarantee=Local(),
        threat=Threat(experiment.norm, experiment.radii[-1]),  # pyright: ignore[reportArgumentType]
        radii=experiment.radii,
        folder=run,
        name=row.name,
        command="surefoot reproduce",
    )


def _compare(experiment: Experiment, row: Row, record: Record) -> list[Published]:
    found = {"clean": figures.clean_accuracy(record)}
    for radius in experiment.radii:
        found[f"{radius:g}"] = figures.attacked_accuracy(record, radius)
    return [
        Published(row.name, name, row.published.get(name), ours.value, ours.low, ours.high)
        for name, ours in found.items()
    ]
