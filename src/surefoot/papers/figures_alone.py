"""Figures without a table: distances between classes, and what long perturbations look like."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from surefoot.data import load
from surefoot.files import write_csv
from surefoot.limits import nearest_other_class
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.histograms import distance_histogram
from surefoot.papers.drawing.perturbation_figure import perturbation_gallery
from surefoot.papers.experiment import Outcome, Row, Setting, part
from surefoot.papers.perturbed_images import gallery
from surefoot.threat import Norm


def distances(
    folder: Path,
    seed: int,
    *,
    data: Sequence[str],
    count: int,
    norm: Norm,
    marks: Sequence[float] = (),
) -> Outcome:
    """Measure how far each training image is from the nearest one of another class.

    Args:
        folder: receives `distances.csv`: data set, row, distance and the row of the nearest.
        seed: not used, nothing is random.
        data: names of data sets.
        count: first images of each; 0 takes all.
        norm: of the distance.
        marks: radii at which balls of other labels meet, to be marked.
    """
    found = {}
    for name in data:
        points, labels = part(load(name, "train"), count).batch(slice(None))
        found[name] = nearest_other_class(points.flatten(1), labels, norm=norm)
    frames = [
        pd.DataFrame({"data": name, "distance": near.distance, "nearest": near.index})
        for name, near in found.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.concat(frames).reset_index(names="row")
    write_csv(table, folder / "distances.csv")
    lengths = {name: near.distance for name, near in found.items()}
    return Outcome(
        [], figures={"distances": partial(distance_histogram, lengths, norm=norm, marks=marks)}
    )


def perturbed_gallery(
    folder: Path, seed: int, *, row: Row, setting: Setting, steps: int
) -> Outcome:
    """Train a net and show what long perturbations by PGD and UDP make of test images.

    Args:
        folder: of the run.
        seed: of the weights.
        row: the net.
        setting: sizes; `test` images are shown.
        steps: of each perturbation, 0.001 each.
    """
    _, model = trained(row, setting, folder, seed)
    shown = gallery(model, setting.images(), steps=steps)
    return Outcome([], figures={"gallery": partial(perturbation_gallery, shown)})
