"""Estimated limits beside published ones: tables, and curves over risk with classifiers as points.

"Error region" and "label at x" are two kinds of adversarial risk; figures say which is which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from surefoot.data import Data, data_folder, load
from surefoot.evaluation import metrics
from surefoot.limits import label_uncertainty
from surefoot.papers.compared_nets import ComparedNet, models
from surefoot.papers.drawing.histograms import overlaid_histograms
from surefoot.papers.drawing.lines import bands_and_points, categories, curves
from surefoot.papers.experiment import (
    Draw,
    Outcome,
    Published,
    compare,
    evaluated,
    part,
    point,
)
from surefoot.papers.limit_curves import Cloud, Entry, Over, estimate, over_splits, sweep
from surefoot.stats import Interval
from surefoot.threat import Threat

PEER = "digits, out of fold"
"""All 1,797 digits, label uncertainty by a logistic regression, and the half of a fixed split."""
FIGURES = {
    "risk": "risk",
    "adversarial risk": "adversarial_risk",
    "label uncertainty": "label_uncertainty",
}
SEARCHED = " (search)"
"""Behind the name of a figure: of the half that chose the region."""
TWO_KINDS = (
    "Lines: adversarial risk of an error region (an error counts where the perturbed point itself"
    " is misjudged); estimates, not proofs.\nPoints: accuracy under attack (the prediction must"
    " keep the label of the clean image): another adversarial risk."
)


Fits = Mapping[str, tuple[float, float, float]]
"""Name -> intercept, slope, largest risk that was fitted."""


@dataclass(frozen=True)
class Case:
    """One estimate, or one curve over risk, beside published figures.

    Args:
        name: of the row or curve.
        settings: of `concentration`: gamma, family, components, ...; of one estimate also risk, eps
            and norm.
        published: name of the figure ("adversarial risk", "risk (search)") -> published fraction.
        fit: name of the published line that a curve is compared with; "" if none.
        calibrated: False: the protocol of the authors.
    """

    name: str
    settings: Mapping[str, Any]
    published: Mapping[str, float] = field(default_factory=dict)
    fit: str = ""
    calibrated: bool = True


@dataclass(frozen=True)
class Limit:
    """Curves of the limit over risk.

    Args:
        risks: of the curves.
        lines: the curves.
        fits: published straight lines: robustness = intercept + slope * risk, up to a risk.
        splits: random splits of every estimate.
    """

    risks: Sequence[float]
    lines: Sequence[Case]
    fits: Fits
    splits: int


def cloud_of(data: str, count: int, seed: int) -> Cloud:
    """Return the points of a data set with label uncertainty: by votes, else zeros.

    Without votes both splits are taken. `count` above 0: so many, drawn by the seed.
    """
    if data == PEER:
        return _digits()
    test = load(data)
    whole = [test] if test.probabilities is not None else [load(data, "train"), test]
    points = torch.cat([one.batch(slice(None))[0].flatten(1) for one in whole])
    unsure = torch.zeros(len(points), dtype=torch.float64)
    if test.probabilities is not None:
        unsure = label_uncertainty(test.probabilities, test.labels).double()
    name = ", ".join(f"{one.name} {one.fingerprint()}" for one in whole)
    if not 0 < count < len(points):
        return Cloud(name, points, unsure)
    rows = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:count]
    return Cloud(f"{name}, {count} of seed {seed}", points[rows], unsure[rows])


def _digits() -> Cloud:
    """Return the digits as the measured figures of the authors' program had them."""
    import numpy as np
    from sklearn.datasets import load_digits

    from surefoot.limits.out_of_fold import out_of_fold

    pixels, labels = load_digits(return_X_y=True)
    points, target = torch.from_numpy(pixels / 16), torch.from_numpy(labels).long()
    unsure = label_uncertainty(out_of_fold(points, target, calibration="none"), target)
    state = np.random.RandomState(0)  # the split of the measured figures
    search = torch.from_numpy(state.choice(len(pixels), len(pixels) // 2, replace=False))
    return Cloud(PEER, points, unsure, search)


def limit_table(
    folder: Path, seed: int, *, data: str, cases: Sequence[Case], count: int = 0
) -> Outcome:
    """Estimate case by case.

    Args:
        folder: keeps the estimates.
        seed: of the splits.
        data: data set, or `PEER`.
        cases: what is estimated.
        count: points; 0 takes all.
    """
    cloud = cloud_of(data, count, seed)
    compared, findings = [], []
    for case in cases:
        how = {"calibrated": case.calibrated, "seed": seed, "folder": folder / "estimates"}
        found = estimate(cloud, **how, **case.settings)
        compared += _beside(case, found)
        findings.append(f"{case.name}: {_status(found)}")
    figures = {"adversarial-risk": _against_cases(compared)} if compared else {}
    return Outcome(compared, [], figures, findings)


def _beside(case: Case, found: Entry) -> list[Published]:
    if not found["feasible"]:
        return []
    wanted = [name for name in FIGURES if name != "label uncertainty" or case.settings["gamma"]]
    wanted += [name for name in case.published if name not in wanted]
    figures = {}
    for name in wanted:
        part_of = found["search"] if name.endswith(SEARCHED) else found
        ours = part_of[FIGURES[name.removesuffix(SEARCHED)]]
        if ours["value"] is not None:
            figures[name] = Interval(**ours)
    return compare(case.name, figures, case.published)


def _status(found: Entry) -> str:
    if not found["feasible"]:
        return f"infeasible, largest gamma {found['largest_gamma']:.3f}"
    words = {
        "none": "not calibrated (protocol of the authors)",
        "missed": "missed: held-out points do not confirm what was demanded",
        "value": "held-out figures reach what was demanded",
        "limit": "lower limits of held-out figures reach what was demanded",
    }
    flag = "valid" if found["valid"] else "not valid"
    return f"{flag}; calibration: {words[found['calibrated']]}"


def _against_cases(compared: Sequence[Published]) -> Draw:
    lines = [
        {**vars(entry), "row": "adversarial risk, held out", "x": entry.row, "y": entry.ours}
        for entry in compared
        if entry.figure == "adversarial risk"
    ]
    title = "Adversarial risk of the region found (error region)"
    return partial(categories, pd.DataFrame(lines), title, "adversarial risk")


def limits_over_risk(
    folder: Path,
    seed: int,
    *,
    data: str,
    threat: Threat,
    limit: Limit,
    sweeps: Mapping[Over, Sequence[float | int]],
    subjects: Sequence[ComparedNet],
    published: str = "",
) -> Outcome:
    """Draw the limit over risk, classifiers as points, and the first line over other settings.

    Args:
        folder: of estimates and runs.
        seed: of everything.
        data: with votes.
        threat: norm and radius of curves and attacks.
        limit: its curves over risk.
        sweeps: what else varies, at risk .05 and with the settings of the first line.
        subjects: classifiers of ours; their settings say how many test images are attacked.
        published: CSV file of the data folder with published models; "" for none.
    """
    cloud, kept = cloud_of(data, 0, seed), folder / "estimates"
    own = {"eps": threat.eps, "norm": threat.norm, "seed": seed, "folder": kept}
    found = {
        line.name: over_splits(
            sweep(
                *(cloud, "risk", limit.risks),
                splits=limit.splits,
                calibrated=line.calibrated,
                **own,
                **line.settings,
            )
        )
        for line in limit.lines
    }
    compared = [
        one for line in limit.lines for one in _at_risks(line, found[line.name], limit.fits)
    ]
    points, records = _models(subjects, load(data), threat, folder, seed, compared)
    if published:
        points = _published_models(published, threat) + points
    figures: dict[str, Draw] = {
        "robustness-over-risk": _over_risk(found, points, limit.fits, threat),
        "label-uncertainty": _histogram(cloud),
    }
    first = limit.lines[0]
    base = {"risk": 0.05, **own, **first.settings}
    for over, values in sweeps.items():
        fixed = {name: value for name, value in base.items() if name != over}
        table = over_splits(sweep(cloud, over, values, calibrated=first.calibrated, **fixed))
        figures[f"over-{over}"] = _over(over, table, first.name)
        for _, one in table.iterrows():
            ours = Interval(one["y"], one["low"], one["high"])
            compared += compare(f"{over} {one['value']:.4g}", {"robustness": ours})
    findings = [_said(name, curve, limit.risks) for name, curve in found.items()]
    return Outcome(compared, records, figures, [*findings, TWO_KINDS.replace("\n", " ")])


def _at_risks(line: Case, curve: pd.DataFrame, fits: Fits) -> list[Published]:
    figures, known = {}, {}
    for _, one in curve.iterrows():
        name = f"robustness at risk {one['value']:g}"
        figures[name] = Interval(one["y"], min(one["low"], one["y"]), max(one["high"], one["y"]))
        if line.fit:
            intercept, slope, _ = fits[line.fit]
            known[name] = intercept + slope * one["value"]
    return compare(line.name, figures, known)


def _models(
    subjects: Sequence[ComparedNet],
    test: Data,
    threat: Threat,
    folder: Path,
    seed: int,
    compared: list[Published],
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Attack the subjects; their figures join those compared."""
    points, records = [], []
    for one, model in models(subjects, folder, seed):
        place, some = folder / one.row.name / "attacked", part(test, one.setting.test)
        record = evaluated(one.setting.plain(model, seed), some, threat, place, one.row.name)
        clean = metrics.clean_accuracy(record)
        ours = metrics.attacked_accuracy(record, threat.eps)
        figures = {"clean": clean, f"attacked {threat.norm}": ours}
        compared += compare(one.row.name, figures, one.row.published)
        points.append(point(one.kind, 1 - clean.value, ours))
        records.append(record)
    return points, records


def _published_models(file: str, threat: Threat) -> list[dict[str, Any]]:
    table = pd.read_csv(data_folder() / file)
    chosen = table[table["norm"].str.lower() == threat.norm]
    return [
        {
            "row": "published models (AutoAttack)",
            "x": 1 - one["clean_accuracy"] / 100,
            "y": one["autoattack_accuracy"] / 100,
        }
        for _, one in chosen.iterrows()
    ]


def _over_risk(
    found: Mapping[str, pd.DataFrame],
    points: Sequence[Mapping[str, Any]],
    fits: Fits,
    threat: Threat,
) -> Draw:
    names = ["row", "x", "y", "low", "high", "confirmed"]
    drawn = [
        curve.assign(row=name, x=curve["risk"])[names]
        for name, curve in found.items()
        if len(curve)
    ]
    lines = pd.concat(drawn) if drawn else pd.DataFrame(columns=names)
    shown = pd.DataFrame(points, columns=["row", "x", "y", "low", "high"])
    return partial(
        bands_and_points,
        lines,
        shown,
        f"Robustness over risk, {threat.norm} {threat.eps:.3g}",
        "risk: fraction of errors (lines: held out)",
        "1 - adversarial risk",
        fits={"1 - risk": (1.0, -1.0, 1.0), **fits},
        note=TWO_KINDS,
    )


def _histogram(cloud: Cloud) -> Draw:
    values = {"all points": cloud.uncertainty.numpy()}
    return partial(
        overlaid_histograms,
        values,
        "Label uncertainty",
        "label uncertainty by votes",
        most=2.0,
    )


def _over(over: str, table: pd.DataFrame, name: str) -> Draw:
    words = {
        "eps": "radius",
        "gamma": "demanded label uncertainty of the region",
        "components": "regions at most",
        "points": "points",
        "risk": "demanded risk",
    }
    columns = ["row", "x", "y", "low", "high"]
    if not len(table):
        frame, title = pd.DataFrame(columns=columns), name
        return partial(curves, frame, title, words[over], "1 - adversarial risk")
    limit = table.rename(columns={"value": "x"}).assign(row=name)
    # Regions differ in their held-out risk: without it a curve over anything else misleads.
    held = limit.assign(row="1 - held-out risk of the same regions", y=1 - limit["risk"])
    held = held.assign(low=held["y"], high=held["y"])
    frame = pd.concat([limit[columns], held[columns]])
    title = f"Robustness over {over}: an estimate (error region)"
    return partial(curves, frame, title, words[over], "1 - adversarial risk")


def _said(name: str, curve: pd.DataFrame, risks: Sequence[float]) -> str:
    reached = [] if curve.empty else curve["value"].tolist()
    missing = [f"risk {risk:g}: no region found" for risk in risks if risk not in reached]
    parts = [
        f"risk {one['value']:g}: held out {100 * one['risk']:.1f} %, robustness"
        f" {100 * one['y']:.1f} %, confirmed in {one['confirmed']:.0%}, valid in"
        f" {one['valid']:.0%}"
        for _, one in curve.iterrows()
    ]
    return f"{name}: {'; '.join(parts + missing)}"
