"""Tables of votes under noise: train every row, decide at the radii, attack inside them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from surefoot.attacks import VoteSearch
from surefoot.certify.smoothing import robust_fraction
from surefoot.evaluation import metrics
from surefoot.evaluation.classifiers import Smoothed
from surefoot.evaluation.header import SmoothingPart
from surefoot.evaluation.record import Record
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.lines import curves, frame_of
from surefoot.papers.experiment import Draw, Outcome, Published, Row, Setting, compare, evaluated
from surefoot.papers.set_tables import checked
from surefoot.threat import Threat
from surefoot.uncertainty.vote import Vote


def smoothed_accuracy(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    sigma: float,
    n_certify: int,
    radii: Sequence[float],
    search: VoteSearch,
) -> Outcome:
    """Train the rows; decide plain smoothing at each radius; attack the votes.

    Args:
        folder: of the runs.
        seed: of everything.
        rows: recipes, with published certified accuracy as "certified 0.25".
        setting: sizes.
        sigma: of the noise.
        n_certify: most samples of a decision.
        radii: l2.
        search: effort of the attack.
    """
    test = setting.images()
    records = []
    compared: list[Published] = []
    for row in rows:
        run, model = trained(row, setting, folder, seed)
        classifier = Smoothed(
            Vote(model, sigma),
            n_certify=n_certify,
            seed=seed,
            radii=tuple(radius * (1 + 1e-12) for radius in radii),
            search=search,
        )
        threat = Threat("l2", max(radii))
        record = evaluated(classifier, test, threat, run / "vote", row.name, radii=radii)
        records.append(record)
        compared += _compare(row, record, radii)
    sentences = [checked(records), *(_bound(record, radii[0]) for record in records)]
    figures = {"samples": _samples(records), "certified": _certified(compared)}
    return Outcome(compared, records, figures, sentences)


def _compare(row: Row, record: Record, radii: Sequence[float]) -> list[Published]:
    found = {"clean": metrics.clean_accuracy(record)}
    for radius in radii:
        certified = metrics.certified_accuracy(record, radius)
        if certified is not None:
            found[f"certified {radius:g}"] = certified
        found[f"attacked {radius:g}"] = metrics.attacked_accuracy(record, radius)
    mean = float(record.rows["samples"].mean())
    lines = compare(row.name, found, row.published)
    return lines + compare(row.name, {"samples": mean}, fraction=False)


def _bound(record: Record, radius: float) -> str:
    """Describe what the certificates of single images prove about the distribution."""
    certified = int(metrics.certified_right(record.rows, radius).sum())
    by = record.header.certificate
    alpha = by.alpha if isinstance(by, SmoothingPart) else 0.0
    low = robust_fraction(certified, len(record), alpha)
    return (
        f"{record.header.name}: at least {100 * low:.1f} % of all such images are right and"
        f" robust at l2 {radius:g} (confidence 95 %, false certificates at {alpha:g} included)"
    )


def _samples(records: Sequence[Record]) -> Draw:
    """Lay out how many samples decisions take, one line a row."""
    taken = {one.header.name: np.sort(one.rows["samples"].to_numpy()) for one in records}
    lines = [(name, one, np.arange(1, len(one) + 1) / len(one)) for name, one in taken.items()]
    frame = frame_of(lines).drop_duplicates(["row", "x"], keep="last")
    title = "Samples until an image is decided"
    return partial(curves, frame, title, "samples", "fraction of images decided")


def _certified(compared: Sequence[Published]) -> Draw:
    frame = pd.DataFrame([vars(entry) for entry in compared])
    frame = frame[frame["figure"].str.startswith("certified ")]
    frame = frame.rename(columns={"ours": "y"}).assign(
        x=frame["figure"].str.removeprefix("certified ").astype(float)
    )
    title = "Certified accuracy of the votes"
    return partial(curves, frame, title, "l2 radius", "certified accuracy")
