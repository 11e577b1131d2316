"""Which family of regions is the best where annotators must disagree: family by family, and risks.

Every region is searched on one part, calibrated on another, and reported on a third, so label
uncertainty that does not hold on new points does not count.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from surefoot.data import load
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.studies.error_region import human_uncertainty, wrong
from surefoot.limits.split import Rows, split
from surefoot.papers.compared_nets import ComparedNet, models
from surefoot.papers.drawing.lines import bands_and_points
from surefoot.papers.experiment import Draw, Outcome, Published, compare, evaluated
from surefoot.papers.limit_curves import Cloud, Entry, estimate
from surefoot.papers.steady_features import block_means, learn_score
from surefoot.progress import track
from surefoot.stats import Interval
from surefoot.threat import Threat
from surefoot.types import Points

BLOCKS = 4
"""Along each side: blocks of pixels whose means are features."""
CUBES = {"family": "cubes", "components": 4, "swaps": 1}
MANY = {"family": "cubes", "components": 64}
"""As the authors search, but around disputed images: small cubes hold what large ones cannot."""
HALF_SPACES = {"family": "half-spaces", "components": 2}
ONE = {"family": "half-spaces", "components": 1}

Features = Float[Tensor, "N _"]
Line = tuple[float, float, float]
"""Intercept, slope, largest risk that was fitted."""


class Family(NamedTuple):
    """One way to look for a region.

    Args:
        name: of the family.
        points: inputs, or features that move no further than inputs.
        settings: of `concentration`.
        centres: rows that cubes may be grown around; None: all.
        calibrated: False: the protocol of the authors, half of the points search and the others
            report; label uncertainty then holds where the region was searched.
    """

    name: str
    points: Features
    settings: Mapping[str, Any]
    centres: Rows | None = None
    calibrated: bool = True


def region_families(
    folder: Path,
    seed: int,
    *,
    data: str,
    threat: Threat,
    gamma: float,
    risks: Sequence[float],
    seeds: Sequence[ComparedNet],
    published: Line | None,
) -> Outcome:
    """Estimate the limit family by family and risk by risk; name the best of each risk.

    The best is chosen on the calibration part: the least expansion among those that reach risk and
    gamma there, else the one that comes closest.

    Args:
        folder: keeps the estimates.
        seed: of the split and the search.
        data: with votes.
        threat: linf, and the radius.
        gamma: least mean label uncertainty of a region.
        risks: least measures of a region.
        seeds: classifiers whose errors cubes are grown around.
        published: straight line of robustness over risk.
    """
    test = load(data)
    unsure = human_uncertainty(test)
    images = test.batch(slice(None))[0]
    search = split(len(test), None, None, None, seed).search
    means = block_means(images, images.shape[-1] // BLOCKS, threat.norm)
    shared = {"gamma": gamma, "eps": threat.eps, "norm": threat.norm, "seed": seed}
    score = learn_score(means[search], unsure[search], **shared)
    errors = {}
    for one, model in models(seeds, folder, seed):
        place, plain = folder / one.row.name / "clean", Plain(model, seed=seed)
        record = evaluated(plain, test, threat, place, one.row.name, attack=False)
        errors[one.row.name] = wrong(record).nonzero().squeeze(1)
    disputed = (unsure > gamma).nonzero().squeeze(1)
    families = _families(images.flatten(1), means, score(means), disputed, errors)
    compared, lines, findings = [], [], []
    tries = [(risk, family) for risk in risks for family in families]
    found: dict[float, dict[str, Entry]] = {risk: {} for risk in risks}
    for risk, family in track(tries, "families of regions", len(tries)):
        name = f"{test.name} {test.fingerprint()}, {family.name}"
        cloud = Cloud(name, family.points, unsure, centres=family.centres)
        how = {"risk": risk, **shared, **family.settings}
        found[risk][family.name] = estimate(
            cloud, calibrated=family.calibrated, folder=folder / "estimates", **how
        )
    for risk, entries in found.items():
        findings.append(_best(risk, gamma, entries))
        for name, entry in entries.items():
            compared += _beside(name, risk, entry, published)
            lines += _line(name, entry)
    note = "\n".join(
        (
            "Every mark is one region, measured on points that chose nothing; numbers: its mean",
            f"label uncertainty there ({gamma:g} was demanded).",
        )
    )
    return Outcome(compared, [], {"families": _figure(lines, threat, published, note)}, findings)


def _families(
    flat: Points, means: Features, score: Features, disputed: Rows, errors: Mapping[str, Rows]
) -> list[Family]:
    return [
        Family("cubes", flat, CUBES),
        Family("cubes around disputed images", flat, CUBES, disputed),
        Family("64 cubes around disputed images, not calibrated", flat, MANY, disputed, False),
        *(
            Family(f"64 cubes around errors of {name}, not calibrated", flat, MANY, at, False)
            for name, at in errors.items()
        ),
        Family("half-spaces", flat, HALF_SPACES),
        Family("cubes of block means", means, CUBES),
        Family("cubes of block means, around disputed images", means, CUBES, disputed),
        Family("half-spaces of block means", means, HALF_SPACES),
        Family("a learned score, Lipschitz constant 1", -score, ONE),
    ]


def _confirmed(entry: Entry) -> bool:
    return entry["calibrated"] in ("value", "limit")


def _best(risk: float, gamma: float, entries: Mapping[str, Entry]) -> str:
    """Return a sentence about the region that the calibration part prefers."""
    feasible = {
        name: entry for name, entry in entries.items() if entry["feasible"] and entry["calibrate"]
    }
    if not feasible:
        return f"risk {risk:g}: no calibrated family has a region of label uncertainty {gamma:g}"

    def order(name: str) -> tuple[bool, float]:
        seen = feasible[name]["calibrate"]
        reached, disputed = seen["risk"]["value"], seen["label_uncertainty"]["value"] or 0.0
        if _confirmed(feasible[name]):
            return False, seen["adversarial_risk"]["value"]
        return True, -min(1.0, reached / risk) * min(1.0, disputed / gamma)

    name = min(feasible, key=order)
    entry = feasible[name]
    disputed = entry["label_uncertainty"]["value"]
    missed = (
        ""
        if _confirmed(entry)
        else (
            f"; missed: {gamma:g} was demanded, {gamma - (disputed or 0.0):.3f} more than"
            " held-out points have"
        )
    )
    uncertain = "unknown" if disputed is None else f"{disputed:.3f}"
    return (
        f"risk {risk:g}: best family {name}: held-out risk {100 * entry['risk']['value']:.1f} %,"
        f" robustness {100 * entry['robustness']['value']:.1f} %, label uncertainty"
        f" {uncertain}{missed}"
    )


def _beside(name: str, risk: float, entry: Entry, line: Line | None) -> list[Published]:
    if not entry["feasible"]:
        return []
    at = f"risk {risk:g}"
    figures = {f"{at}, robustness": entry["robustness"], f"{at}, held-out risk": entry["risk"]}
    known = {} if line is None else {f"{at}, robustness": line[0] + line[1] * risk}
    shown = compare(name, {key: Interval(**one) for key, one in figures.items()}, known)
    disputed = entry["label_uncertainty"]
    if disputed["value"] is None:
        return shown
    held = {f"{at}, label uncertainty held out": Interval(**disputed)}
    return shown + compare(name, held, fraction=False)


def _line(name: str, entry: Entry) -> list[dict[str, Any]]:
    if not entry["feasible"]:
        return []
    disputed, held = entry["label_uncertainty"]["value"], entry["robustness"]
    return [
        {
            **{"row": name, "x": entry["risk"]["value"], "y": held["value"]},
            **{"low": held["low"], "high": held["high"], "confirmed": float(_confirmed(entry))},
            "text": "" if disputed is None else f"{disputed:.2f}",
        }
    ]


def _figure(lines: list[dict[str, Any]], threat: Threat, published: Line | None, note: str) -> Draw:
    columns = ["row", "x", "y", "low", "high", "confirmed", "text"]
    return partial(
        bands_and_points,
        pd.DataFrame(columns=columns[:-1]),
        pd.DataFrame(lines, columns=columns),
        f"Families of regions, {threat.norm} {threat.eps:.3g}",
        "risk: held-out measure of the region",
        "1 - adversarial risk",
        fits={"1 - risk": (1.0, -1.0, 1.0)} | ({"published": published} if published else {}),
        note=note,
    )
