"""Nets and measures of uncertainty: how much larger radius (ii) is than plain smoothing's."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from surefoot.attacks import VoteSearch
from surefoot.data import load
from surefoot.evaluation import metrics
from surefoot.evaluation.classifiers import Smoothed
from surefoot.evaluation.record import Record
from surefoot.evaluation.studies import rejection_study
from surefoot.evaluation.studies.rejection_study import Rejection, rejection_curve
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.lines import curves, frame_of, stacked
from surefoot.papers.experiment import (
    Draw,
    Outcome,
    Published,
    Row,
    Setting,
    compare,
    evaluated,
    point,
)
from surefoot.papers.set_tables import checked
from surefoot.threat import Threat
from surefoot.uncertainty import Selective, noisy, score_of
from surefoot.uncertainty.scores import MEMBER_SCORES
from surefoot.uncertainty.vote import Vote

MOST = 0.4
"""Largest fraction of rejected images at which a gain is quoted."""
KNOWN = 500
"""Training images that choose the thresholds."""
SHOWN = ("one_bound", "plain", "certain", "pairwise", "tight", "majority")
NAMES = {
    "one_bound": "plain, one bound",
    "plain": "plain, two bounds",
    "certain": "(i) certain",
    "pairwise": "(ii) pairwise",
    "tight": "(ii) tight",
    "majority": "(ii) majority rule",
}
"""Of the estimators, in tables and figures."""
GAINS = ("tight", "majority")
GAIN_OF = {"all": "", "accepted": ", accepted images only", "zero": ", rejected images as 0"}
"""What a gain counts, in tables: the three always stand together."""


def rejection_radii(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    scores: Sequence[str],
    n_certify: int,
    radii: Sequence[float],
    search: VoteSearch,
) -> Outcome:
    """Train nets with noise, count once a score, and read all radii off at every threshold.

    The first half of the images chooses each threshold, that of the best gain; it is quoted on the
    other half. The first net and score is also attacked there: against (i) and against (ii).

    Args:
        folder: of the runs.
        seed: of everything.
        rows: nets; their recipes add the noise of the vote.
        setting: sizes.
        scores: measures of uncertainty; those of members for nets of several members alone.
        n_certify: samples of an image.
        radii: of the curves of certified accuracy; above 0 also of the attacks.
        search: effort of the attacks.
    """
    test = setting.images()
    compared: list[Published] = []
    found: dict[str, Rejection] = {}
    for row in rows:
        run, model = trained(row, setting, folder, seed)
        for score in scores:
            if score in MEMBER_SCORES and not hasattr(model, "members"):
                continue
            name = f"{row.name}, {score}"
            found[name] = rejection_curve(
                Vote(model, row.sigma),
                test,
                score=score,
                thresholds=_thresholds(model, setting, score, row.sigma, seed),
                n_certify=n_certify,
                seed=seed,
                folder=run / score,
            )
            compared += _compare(name, row.published, found[name], seed)
    first = next(iter(found))
    others = test.take(slice(len(test) // 2, None))
    sentences = [_sentence(name, one) for name, one in found.items()]
    _, model = trained(rows[0], setting, folder, seed)
    best = _best(found[first], "tight")
    vote = Vote(Selective(model, scores[0], best).eval(), rows[0].sigma)
    records = [
        evaluated(
            Smoothed(vote, n_certify=n_certify, seed=seed, search=search),
            others,
            Threat("l2", max(radii)),
            folder / rows[0].name / name,
            f"{first}, {name}",
            guarantee=guarantee,
            radii=[radius for radius in radii if radius > 0],
        )
        for name, guarantee in (("(i)", Local()), ("(ii)", LabelOrUncertain()))
    ]
    figures = _figures(found, first, radii)
    figures["certified"] = _curves(found[first], best, records, radii, first)
    return Outcome(compared, records, figures, [*sentences, checked(records)])


def _thresholds(
    model: nn.Module, setting: Setting, score: str, sigma: float, seed: int
) -> list[float]:
    """Return twentieths of the score on noisy training images, and 1: nothing is rejected there."""
    images, _ = load(setting.data, "train").first(KNOWN).batch(slice(None))
    scores = score_of(model, noisy(images, sigma, seed=seed), score).double()
    fractions = torch.arange(1, 20, dtype=torch.float64) / 20
    found = {round(value, 6) for value in scores.quantile(fractions).tolist()}
    return [*sorted(value for value in found if value < 1), 1.0]


def _compare(
    name: str, published: Mapping[str, float], found: Rejection, seed: int
) -> list[Published]:
    """Quote the largest gain of each estimator of (ii), and what it costs."""
    _, quoted = found.halves()
    table, figures = rejection_study.summary(quoted).set_index("threshold"), {}
    for estimator in GAINS:
        best = _best(found, estimator)
        for counted, note in GAIN_OF.items():
            figures[f"gain of (ii) {estimator}{note}"] = rejection_study.gain_interval(
                quoted, best, estimator, counted=counted, seed=seed
            )
        figures[f"gain of (ii) {estimator}, against one bound"] = rejection_study.gain_interval(
            quoted, best, estimator, base="one_bound", seed=seed
        )
        fraction = "undecided" if estimator == "majority" else "rejected"
        figures[f"rejected, {estimator}"] = float(table[fraction].to_dict()[best])
    line = table.to_dict("index")[_best(found, "tight")]
    radii = {f"radius, {NAMES[estimator]}": float(line[estimator]) for estimator in SHOWN}
    return compare(name, figures, published) + compare(name, radii, fraction=False)


def _best(found: Rejection, estimator: str) -> float:
    """Choose the threshold on the first half: the best gain that rejects few enough.

    If each rejects too many, the one that rejects least.
    """
    table = rejection_study.summary(found.halves()[0])
    fraction = "undecided" if estimator == "majority" else "rejected"
    if bool((table[fraction] <= MOST).any()):
        return float(rejection_study.best_gain(table, estimator, MOST)["threshold"])
    return float(table["threshold"].iloc[-1])


def _sentence(name: str, found: Rejection) -> str:
    table = rejection_study.summary(found.halves()[1]).set_index("threshold")
    words = []
    for estimator in GAINS:
        threshold = _best(found, estimator)
        best = table.to_dict("index")[threshold]
        words.append(
            f"{estimator} {100 * best[f'gain_{estimator}']:+.1f} % against two bounds"
            f" ({100 * best[f'gain_accepted_{estimator}']:+.1f} % on accepted images,"
            f" {100 * best[f'gain_zero_{estimator}']:+.1f} % with 0 for rejected ones) and"
            f" {100 * best[f'gain_one_{estimator}']:+.1f} % against one, at threshold"
            f" {threshold:.3g}, the best of {len(table)} on the other half of the images"
        )
    none = table.iloc[-1]
    alone = none["plain"] / none["one_bound"] - 1 if none["one_bound"] > 0 else float("nan")
    return (
        f"{name}: radius (ii) {'; '.join(words)}. Two bounds instead of one bring"
        f" {100 * alone:+.1f} % without any rejection."
    )


def _figures(found: Mapping[str, Rejection], first: str, radii: Sequence[float]) -> dict[str, Draw]:
    tables = {name: rejection_study.summary(one) for name, one in found.items()}
    table, middle = tables[first], radii[len(radii) // 3]
    parts = rejection_study.fractions(found[first], middle).rename(columns={"threshold": "x"})
    across = "threshold of the score"
    return {
        "radius-threshold": partial(
            curves,
            frame_of((NAMES[one], table["threshold"], table[one]) for one in SHOWN),
            f"Mean radius over the threshold: {first}",
            across,
            "mean l2 radius, errors 0",
            percent=False,
        ),
        "gain-rejected": partial(
            curves,
            frame_of((name, one["rejected"], one["gain_tight"]) for name, one in tables.items()),
            "What radius (ii) gains over all images, rejected ones included",
            "fraction of images that the vote rejects",
            "tight radius (ii) against plain, two bounds",
        ),
        "plane": partial(stacked, parts, f"At radius {middle:g}: {first}", across),
        "top-mass": partial(
            curves,
            frame_of(map(_top_fractions, found.items())).drop_duplicates(["row", "x"]),
            "How sure the vote is",
            "fraction of the samples for the top label",
            "fraction of images with at least so much",
        ),
    }


def _top_fractions(named: tuple[str, Rejection]) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the net, fractions of samples for the top label, and of images with at least these."""
    name, one = named
    fractions = np.sort(one.at(one.thresholds[0])["top_fraction"].to_numpy())
    return name.split(", ")[0], fractions, 1 - np.arange(len(fractions)) / len(fractions)


def _curves(
    found: Rejection, best: float, records: Sequence[Record], radii: Sequence[float], name: str
) -> Draw:
    """Lay out certified and attacked accuracy over the radius; (ii) attacked: accepted or not."""
    lines = [rejection_study.certified_curve(found, best, SHOWN, radii).replace({"row": NAMES})]
    for record in records:
        for radius in record.header.radii:
            ours = metrics.attacked_accuracy(record, radius)
            row = f"attacked {record.header.name.rpartition(', ')[2]}"
            lines.append(pd.DataFrame([point(row, radius, ours)]))
    title = f"Certified and attacked: {name}, threshold {best:.3g}"
    return partial(curves, pd.concat(lines, ignore_index=True), title, "l2 radius", "accuracy")
