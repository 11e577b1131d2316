"""Do classifiers err where annotators disagree? Error regions, random balls, abstention."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from surefoot.data import Data, load
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.evaluation.studies.abstention import abstention, areas, at_quantiles
from surefoot.evaluation.studies.error_region import (
    ErrorRegion,
    against_balls,
    correlation,
    human_uncertainty,
    random_balls,
    wrong,
)
from surefoot.papers.compared_nets import ComparedNet, models
from surefoot.papers.drawing.lines import curves
from surefoot.papers.experiment import Draw, Outcome, Published, compare, evaluated, part
from surefoot.papers.gap_to_limit import gap_to_limit
from surefoot.report.error_region_chart import PublishedRange, error_region_chart, said
from surefoot.threat import Threat
from surefoot.uncertainty import scores

ORACLE = "human label uncertainty (oracle)"
PREDICTED = {
    "least-confidence (predicted)": scores.least_confidence,
    "entropy (predicted)": scores.entropy,
    "margin-uncertainty (predicted)": scores.margin_uncertainty,
    "energy (predicted)": scores.energy,
}
BATCH = 500
RANKS = "rank correlation of risk and label uncertainty"


def error_regions(
    folder: Path,
    seed: int,
    *,
    data: str,
    threat: Threat,
    subjects: Sequence[ComparedNet],
    balls: int,
    published: Mapping[str, Sequence[PublishedRange]],
) -> Outcome:
    """Measure the error region of every classifier, attack it, and let it abstain.

    Args:
        folder: of the runs.
        seed: of everything.
        data: with votes; every test image counts for the error region.
        threat: of the attacks; the setting of a subject says how many images are attacked.
        subjects: classifiers.
        balls: random balls.
        published: kind -> ranges read off the paper's figure.
    """
    test = load(data)
    unsure, compared, records, findings = human_uncertainty(test), [], [], []
    clean: list[tuple[ComparedNet, Record]] = []
    figures: dict[str, Draw] = {}
    for one, model in models(subjects, folder, seed):
        name, some = one.row.name, part(test, one.setting.test)
        plain = Plain(model, seed=seed)
        place = folder / name
        clean.append((one, evaluated(plain, test, threat, place / "clean", name, attack=False)))
        attacked = one.setting.plain(model, seed)
        record = evaluated(attacked, some, threat, place / "attacked", name, limits=True)
        records.append(record)
        beside = [entry.text() for entry in gap_to_limit(record)] or ["no region for a limit found"]
        findings += [f"{one.row.name}, {text}" for text in beside]
        ranked = _scores(model, some)
        compared += _areas(one, record, ranked, threat.eps)
        findings.append(_arrows(one, record, ranked[ORACLE], threat.eps))
        figures[f"abstention-{re.sub('[^0-9a-zA-Z]+', '-', one.row.name)}"] = _abstention(
            one, record, ranked, threat.eps
        )
    control = _balls(test, unsure, [record for _, record in clean], balls, seed)
    found = [
        (one, against_balls(record, unsure, control[int(wrong(record).sum())], seed=seed))
        for one, record in clean
        if bool(wrong(record).any())
    ]
    for one, region in found:
        compared = [*_compare(one, region), *compared]
        findings.insert(0, _sentence(one, region, published.get(one.kind, ())))
    regions, kinds = [region for _, region in found], [one.kind for one, _ in found]
    if regions:
        findings.insert(0, said(regions))
        compared = [
            *compare("all classifiers", {RANKS: correlation(regions)}, fraction=False),
            *compared,
        ]
    draw = partial(error_region_chart, regions, kinds=kinds, published=published)
    first: dict[str, Draw] = {"error-regions": draw} if regions else {}
    return Outcome(compared, records, first | figures, findings)


def _balls(
    test: Data, unsure: Tensor, records: Sequence[Record], balls: int, seed: int
) -> dict[int, Tensor]:
    """Measure random balls of every size that is needed, sorted once for all."""
    sizes = {int(wrong(record).sum()) for record in records} - {0}
    if not sizes:
        return {}
    points, ordered = test.batch(slice(None))[0].flatten(1), sorted(sizes)
    found = random_balls(points, unsure, ordered, balls=balls, seed=seed)
    return dict(zip(ordered, found.T, strict=True))


def _scores(model: nn.Module, data: Data) -> dict[str, Tensor]:
    """Return human label uncertainty, and what the classifier says of itself."""
    with torch.no_grad():
        places = range(0, len(data), BATCH)
        parts = [model(data.batch(slice(first, first + BATCH))[0]) for first in places]
    logits = torch.cat(parts)
    own = {name: score(logits).double() for name, score in PREDICTED.items()}
    return {ORACLE: human_uncertainty(data), **own}


def _compare(one: ComparedNet, region: ErrorRegion) -> list[Published]:
    name = one.row.name
    figures = {
        "risk": region.risk,
        "label uncertainty of the errors": region.label_uncertainty,
        "of random balls": region.balls,
        "p-value": region.p_value,
    }
    return compare(name, figures)


def _areas(
    one: ComparedNet, record: Record, ranked: Mapping[str, Tensor], radius: float
) -> list[Published]:
    table = areas(record, ranked, radius)
    figures = {f"AURC {row['kind']}, {row['score']}": row["area"] for _, row in table.iterrows()}
    return compare(one.row.name, figures)


def _arrows(one: ComparedNet, record: Record, unsure: Tensor, radius: float) -> str:
    table = at_quantiles(record, unsure, radius)
    parts = [
        f"{row['kind']} {100 * row['accuracy']:.1f} % of the {100 * row['coverage']:.0f} % up to"
        f" quantile {row['quantile']:g}"
        for _, row in table.iterrows()
    ]
    return f"{one.row.name}, dropping what annotators dispute (oracle): {'; '.join(parts)}"


def _sentence(one: ComparedNet, region: ErrorRegion, published: Sequence[PublishedRange]) -> str:
    ours, balls = region.label_uncertainty, region.balls
    text = (
        f"{one.row.name} ({one.kind}): risk {100 * region.risk.value:.1f} %, label uncertainty of"
        f" its errors {ours.value:.3f} [{ours.low:.3f}, {ours.high:.3f}], elsewhere"
        f" {region.elsewhere:.3f}, random balls {balls.value:.3f} (95 % of them {balls.low:.3f} to"
        f" {balls.high:.3f}), p = {region.p_value:.4f}"
    )
    parts = [
        "risk {:g} to {:g}: {:g} to {:g}".format(*part.risk, *part.label_uncertainty)
        for part in published
    ]
    return f"{text}; published: {'; '.join(parts)}" if parts else text


def _abstention(
    one: ComparedNet, record: Record, ranked: Mapping[str, Tensor], radius: float
) -> Draw:
    table = abstention(record, ranked, radius)
    some = {ORACLE, "entropy (predicted)"}
    marks = at_quantiles(record, ranked[ORACLE], radius).assign(score="at its quantiles .98 .9 .8")
    table = pd.concat([table[table["score"].isin(some)], marks])
    frame = pd.DataFrame(
        {
            "row": table["kind"] + ", " + table["score"],
            "x": table["coverage"],
            "y": table["accuracy"],
            "low": table["low"],
            "high": table["high"],
        }
    )
    title = f"{one.row.name}: accuracy of the kept part"
    across = "coverage: fraction kept, least uncertain first"
    return partial(curves, frame, title, across, "accuracy")
