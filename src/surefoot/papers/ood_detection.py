"""Nets and scores: how well votes tell OOD inputs, clean, attacked and with a guarantee."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from surefoot.data import Data, load
from surefoot.evaluation.studies import detection
from surefoot.evaluation.studies.detection import ESTIMATORS, NET, Asked, Detection, detect
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.histograms import overlaid_histograms
from surefoot.papers.drawing.lines import curves, frame_of
from surefoot.papers.experiment import (
    Draw,
    Outcome,
    Published,
    Row,
    Setting,
    compare,
    part,
)
from surefoot.stats import Interval, interval
from surefoot.uncertainty import threshold_at_coverage
from surefoot.uncertainty.selection import noisy
from surefoot.uncertainty.selective import score_of
from surefoot.uncertainty.vote import Vote

COVERAGE = 0.95
"""Fraction of noisy training images that the threshold of the estimator `unsure` accepts."""
FITTED = 2000
"""Training images that choose it."""
NAMES = {
    NET: "score of the net",
    "mean": "mean under noise",
    "median": "median under noise",
    "unsure": "fraction of unsure samples",
    "split": "1 - fraction of the top label",
}
DRAWN = (
    (NET, "attacked"),
    ("mean", "attacked"),
    ("median", "attacked"),
    ("mean", "guaranteed"),
    ("median", "guaranteed"),
)
"""Of the curves over the radius."""


def ood_detection(
    folder: Path,
    seed: int,
    *,
    rows: Sequence[Row],
    setting: Setting,
    outside: Mapping[str, str],
    scores: Sequence[str],
    radii: Sequence[float],
    **effort: int,
) -> Outcome:
    """Train nets with noise; score, attack and bound test images and OOD inputs.

    Args:
        folder: of the runs.
        seed: of everything.
        rows: nets; their recipes add the noise of the vote.
        setting: sizes; as many OOD inputs as test images.
        outside: how OOD inputs are called -> data set.
        scores: measures of uncertainty, in [0, 1].
        radii: l2, increasing; tables quote the first.
        effort: `n_certify`, `steps` and `draws`, see `Asked`.
    """
    test = setting.images()
    compared: list[Published] = []
    found: dict[str, Detection] = {}
    for row in rows:
        run, model = trained(row, setting, folder, seed)
        for score in scores:
            asked = Asked(
                score=score,
                threshold=_threshold(model, setting, score, row.sigma, seed),
                radii=tuple(radii),
                seed=seed,
                **effort,
            )
            for called, name in outside.items():
                ood = _ood_inputs(name, len(test))
                to = f"{row.name}, {score}, {called}"
                inside = run / f"{score}-{called}"
                found[to] = detect(Vote(model, row.sigma), test, ood, asked=asked, folder=inside)
                compared += _compare(to, found[to], seed)
    sentences = [text for name, one in found.items() for text in _sentences(name, one, seed)]
    return Outcome(compared, [], _pictures(found), sentences)


def _ood_inputs(name: str, count: int) -> Data:
    ood = load(name)
    return ood.first(min(count, len(ood)))


def _threshold(model: nn.Module, setting: Setting, score: str, sigma: float, seed: int) -> float:
    """Choose the threshold on noisy training images, on the grid of the counts, rounded up."""
    images, _ = part(load(setting.data, "train"), setting.train).batch(slice(0, FITTED))
    scores = score_of(model, noisy(images, sigma, seed=seed), score)
    chosen = threshold_at_coverage(scores, COVERAGE)
    edges = len(detection.EDGES)
    return min(max(math.ceil(chosen * edges), 1), edges) / edges


def _compare(name: str, found: Detection, seed: int) -> list[Published]:
    """Quote AUROC and FPR95 of each estimator and kind at the first radius."""
    rows = found.at(found.radii[0])
    inside = rows["inside"].to_numpy()
    lines = []
    for estimator in (NET, *ESTIMATORS):
        to = f"{name}: {NAMES[estimator]}"
        for kind, column in detection.kinds(estimator).items():
            scores = rows[column].to_numpy()
            area = detection.auroc_interval(inside, scores, seed=seed)
            judged = detection.figures(inside, scores)
            false = interval(round(judged.fpr95 * inside.sum()), int(inside.sum()))
            at = kind if kind == "clean" else f"{kind} {found.radii[0]:g}"
            found_here = {f"AUROC {at}": area, f"FPR95 {at}": false}
            if kind == "clean":
                found_here |= {"AUPR in": judged.aupr_in, "AUPR out": judged.aupr_out}
                found_here["accuracy"] = judged.accuracy
            lines += compare(to, found_here)
    return lines


def _sentences(name: str, found: Detection, seed: int) -> list[str]:
    rows = found.at(found.radii[0])
    inside, net = rows["inside"].to_numpy(), rows[NET].to_numpy()
    base = 100 * detection.auroc(inside, net)
    words = []
    for estimator in ESTIMATORS:
        gain = detection.gain_interval(inside, rows[estimator].to_numpy(), net, seed=seed)
        words.append(f"{NAMES[estimator]} {verdict(gain)}")
    text = (
        f"{name}: without attack, against AUROC {base:.1f} of the net's own score, at sigma"
        f" {found.header['sigma']:g}: {'; '.join(words)}."
    )
    under = {
        to: 100 * detection.auroc(inside, rows[column].to_numpy())
        for to, column in (("net", f"attacked_{NET}"), ("mean", "attacked_mean"))
    }
    attacked = (
        f" Attacked at l2 {found.radii[0]:g}, each by an attack of its own: net {under['net']:.1f},"
        f" {NAMES['mean']} {under['mean']:.1f}. {_best_guarantee(found)}"
    )
    first = [text + attacked]
    return first + [f"WARNING, {name}: {text}" for text in found.header["warnings"]]


def _best_guarantee(found: Detection) -> str:
    bounds = {
        (value, kind, estimator)
        for estimator in ESTIMATORS
        for kind, value in detection.areas_of(found, found.radii[0], estimator).items()
        if kind not in ("clean", "attacked")
    }
    area, kind, estimator = max(bounds)
    return f"The best guarantee there: {100 * area:.1f}, {kind}, for the {NAMES[estimator]}."


def verdict(gain: Interval) -> str:
    """Return whether a difference of AUROCs is significant, with its interval in points."""
    word = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "makes no sure difference"
    points = (100 * value for value in (gain.value, gain.low, gain.high))
    return "{} ({:+.1f} points [{:+.1f}, {:+.1f}])".format(word, *points)


def _pictures(found: Mapping[str, Detection]) -> dict[str, Draw]:
    name, one = next(iter(found.items()))
    radius = one.radii[0]
    columns = {
        "scores-net": (NET, f"Net alone: {name}", "score of the net"),
        "scores-mean": ("mean", f"Under noise: {name}", "mean score over noise samples"),
        "scores-guaranteed": (
            "worst_median",
            f"Worst case at l2 {radius:g}: {name}",
            "certified bound of the median: upper for the data, lower for OOD inputs",
        ),
    }
    figures: dict[str, Draw] = {
        file: _histograms(one, column, title, across)
        for file, (column, title, across) in columns.items()
    }
    table = _over_radii(one)
    title = f"OOD inputs told apart: {name}"
    return figures | {"auroc-radius": partial(curves, table, title, "l2 radius", "AUROC")}


def _histograms(found: Detection, column: str, title: str, across: str) -> Draw:
    rows = found.at(found.radii[0])
    values: dict[str, np.ndarray] = {
        found.header[kind]["name"]: rows[rows["inside"] == flag][column].to_numpy()
        for kind, flag in (("inside", True), ("outside", False))
    }
    return partial(overlaid_histograms, values, title, across)


def _over_radii(found: Detection) -> pd.DataFrame:
    """Lay out AUROC over the radius, from the clean figure on."""
    lines = []
    for estimator, kind in DRAWN:
        areas = {radius: detection.areas_of(found, radius, estimator) for radius in found.radii}
        clean = areas[found.radii[0]]["clean"]
        heights = [clean, *(area[kind] for area in areas.values())]
        lines.append((f"{NAMES[estimator]}, {kind}", [0.0, *areas], heights))
    return frame_of(lines)
