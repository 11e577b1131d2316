"""Tables of certified sets: local beside relaxed robustness, with the price, judged by voters."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from surefoot.data import Data
from surefoot.evaluation import certified_sets, metrics
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.guarantees import Guarantee, Local, RelaxedTopK, TopK
from surefoot.models import Double
from surefoot.papers import judged_sets
from surefoot.papers.accuracy_table import trained
from surefoot.papers.certified_regions import CertifiedRegion, region
from surefoot.papers.drawing.lines import curves
from surefoot.papers.drawing.region_figures import region_grid
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
from surefoot.stats import Interval, binomial_p_value, bootstrap_interval
from surefoot.threat import Threat
from surefoot.wording import percent

WORTH = 0.01
"""A gain of fewer points than this is none, however significant it is."""
GAIN = "gain of relaxed VRA"
"""Against the local VRA of the first net."""
CURVE = 13
"""Radii of the curves, from 0 to twice eps."""


@dataclass(frozen=True)
class CertifiedNet:
    """One net of a table of certified sets.

    Args:
        row: name, recipe, published figures ("VRA local", "VRA relaxed").
        guarantee: under which it is certified.
        also: further ones, after training: name -> guarantee.
    """

    row: Row
    guarantee: Guarantee = field(default_factory=Local)
    also: Mapping[str, Guarantee] = field(default_factory=dict)

    def entries(self) -> list[tuple[str, Guarantee]]:
        """List what is certified: the name in the table, and the guarantee."""
        others = [(f"{self.row.name}, as {name}", found) for name, found in self.also.items()]
        return [(self.row.name, self.guarantee), *others]


def sets(
    folder: Path,
    seed: int,
    *,
    nets: Sequence[CertifiedNet],
    setting: Setting,
    eps: float,
    judged: str = "",
) -> Outcome:
    """Train the nets, certify each under its guarantees, attack the same, and weigh the gain.

    Args:
        folder: of the runs.
        seed: of everything.
        nets: the first is the one that relaxed robustness is compared with, certified for `Local`.
        setting: sizes.
        eps: l2 radius of the headline; half and twice as much are attacked too.
        judged: data set whose test split is evaluated; that of the setting without it.
    """
    compared: list[Published] = []
    records: list[Record] = []
    test = setting.images(judged)
    for net in nets:
        run, model = trained(net.row, setting, folder, seed)
        for name, guarantee in net.entries():
            record = _certified(model, test, guarantee, eps, setting, run, name, seed)
            records.append(record)
            row = net.row if name == net.row.name else replace(net.row, name=name, published={})
            compared += figures_of(row, record, eps)
            if record is not records[0] and certified_sets.is_set_valued(record):
                known = published_gain(row, nets[0].row)
                compared += compare(name, {GAIN: gain(record, records[0], eps)}, known)
    findings = [found for record in records[1:] if (found := worth(record, records[0], eps))]
    findings += [checked(records)]
    return Outcome(compared, records, {"radii": against_radius(records, eps)}, findings)


def graded(
    folder: Path,
    seed: int,
    *,
    nets: Sequence[CertifiedNet],
    setting: Setting,
    eps: float,
    judged: str,
) -> Outcome:
    """Make the table of `sets`, and compare the certified sets with annotators' votes.

    Args:
        folder: of the runs.
        seed: of everything.
        nets: as in `sets`.
        setting: sizes.
        eps: l2 radius.
        judged: data set with human votes, on the test images.
    """
    outcome = sets(folder, seed, nets=nets, setting=setting, eps=eps, judged=judged)
    votes = setting.images(judged).probabilities
    if votes is None:
        raise ValueError(f"the data set {judged} has no human votes to judge by")
    for record in outcome.records:
        name = record.header.name
        figures = {"fraction of votes": judged_sets.votes_inside(record, votes, eps)}
        voted = judged_sets.voted_sets(record, votes, eps)
        if voted is not None:
            figures["sets voters name"] = voted
            outcome.findings.append(f"{name}: {_where(record, votes, eps)}")
        outcome.compared.extend(compare(name, figures))
    return outcome


def regions(
    folder: Path,
    seed: int,
    *,
    nets: Sequence[CertifiedNet],
    setting: Setting,
    eps: float,
    side: int = 300,
) -> Outcome:
    """Make the table of `sets` for points in the plane, and draw what is certified where.

    Args:
        folder: of the runs.
        seed: of everything.
        nets: as in `sets`; each is drawn under its own guarantee, the first
            also under `TopK(2)` and `RelaxedTopK(2)`.
        setting: sizes.
        eps: l2 radius.
        side: places of the figure along each axis.
    """
    compared: list[CertifiedRegion] = []
    outcome = sets(folder, seed, nets=nets, setting=setting, eps=eps)
    test = setting.images()
    drawn = []
    for net in nets:
        _, model = trained(net.row, setting, folder, seed)
        found = region(net.row.name, model, test, guarantee=net.guarantee, eps=eps, side=side)
        drawn.append(found)
        if net is nets[0]:
            kinds = {"label alone": Local(), "top-2 set": TopK(2), "relaxed top-2": RelaxedTopK(2)}
            compared = [
                region(name, model, test, guarantee=kind, eps=eps, side=side)
                for name, kind in kinds.items()
            ]
    figures = {
        "regions": partial(region_grid, drawn),
        "top-k": partial(region_grid, compared),
        **outcome.figures,
    }
    return replace(outcome, figures=figures, findings=[*outcome.findings, no_relaxation(compared)])


def no_relaxation(compared: Sequence[CertifiedRegion]) -> str:
    """Say where a label is certified and the top-2 set is not: TopK(2) is no weaker than Local.

    RelaxedTopK(2) is: what either certifies, it certifies.

    Args:
        compared: one net under `Local`, `TopK(2)` and `RelaxedTopK(2)`.
    """
    label, top, relaxed = (one.sets.any(2).double().mean().item() for one in compared)
    lost = (compared[0].sets.any(2) & ~compared[1].sets.any(2)).double().mean().item()
    return (
        f"top-2 robustness is no relaxation: {percent(label)} of the places are certified for the"
        f" label, {percent(top)} for the set of the two best, and {percent(lost)} for the label"
        f" but not for that set; relaxed top-2 has {percent(relaxed)}"
    )


def figures_of(row: Row, record: Record, eps: float) -> list[Published]:
    """Return the figures of one line of the table, beside what the paper has."""
    top = metrics.fraction(record.rows["prediction"] == record.rows["label"])
    found: dict[str, Interval] = {
        "top-1": top,
        "VRA local": certified_sets.local_accuracy(record, eps),
        "VRA strict": certified_sets.strict_accuracy(record, eps),
        "VRA relaxed": certified_sets.relaxed_accuracy(record, eps),
        "attacked": metrics.attacked_accuracy(record, eps),
        "rejected": certified_sets.rejection_rate(record, eps),
    }
    lines = compare(row.name, found, row.published)
    size = certified_sets.mean_certified_size(record, eps)
    if not np.isnan(size):
        lines += compare(row.name, {"mean set": size}, fraction=False)
    return lines


def gain(record: Record, base: Record, eps: float) -> Interval:
    """Return relaxed VRA minus local VRA of another net, on the same images: a paired interval."""
    ours = certified_sets.label_inside(record, eps, "largest").astype(float)
    theirs = certified_sets.label_alone(base, eps).astype(float)
    return bootstrap_interval(
        float((ours - theirs).mean()),
        (ours, theirs),
        lambda ours, theirs, axis: (ours - theirs).mean(axis),
        paired=True,
    )


def published_gain(row: Row, base: Row) -> dict[str, float]:
    """Return the same difference of published figures, where the paper has both."""
    wide, alone = row.published.get("VRA relaxed"), base.published.get("VRA local")
    return {GAIN: round(wide - alone, 4)} if wide is not None and alone is not None else {}


def worth(record: Record, base: Record, eps: float) -> str:
    """Return whether sets give more than one label: strict VRA against local VRA of the first net.

    The same test images under both: only those that one of the two has are told, by a sign test.
    Strict VRA, because relaxed VRA can be bought with large sets. "" for a guarantee of one label.
    """
    if not certified_sets.is_set_valued(record):
        return ""
    ours = certified_sets.label_inside(record, eps)
    theirs = certified_sets.label_alone(base, eps)
    more, less = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    gap, chance = (more - less) / len(ours), _sign_test(more, less)
    size = certified_sets.mean_certified_size(record, eps)
    relaxed = certified_sets.relaxed_accuracy(record, eps).value
    certain = chance < 0.05 and abs(gap) >= WORTH
    verdict = "does not certainly help here" if not certain else "helps" if gap > 0 else "costs"
    return (
        f"{record.header.name}: relaxed robustness {verdict}: strict VRA"
        f" {100 * ours.mean():.1f}, {100 * gap:+.1f} points against one label alone"
        f" ({base.header.name}, {100 * theirs.mean():.1f}; p = {chance:.2g}); relaxed VRA"
        f" {100 * relaxed:.1f}, mean smallest set {size:.2f}"
    )


def checked(records: Sequence[Record]) -> str:
    """Sum up what attacks found inside certified radii."""
    found = [check for record in records if (check := metrics.cross_check(record))]
    inside, refuted = sum(check.inside for check in found), sum(check.refuted for check in found)
    return f"{inside:,} attacks inside certified radii, {refuted} contradictions"


def against_radius(records: Sequence[Record], eps: float) -> Draw:
    """Lay out relaxed VRA (of one label: local VRA) over the radius, one line an entry."""
    lines = []
    for record in records:
        for radius in np.linspace(0, 2 * eps, CURVE).tolist():
            found = certified_sets.relaxed_accuracy(record, radius)
            lines.append(point(record.header.name, radius, found))
    title = "Label in a certified set"
    return partial(curves, pd.DataFrame(lines), title, "l2 radius", "VRA")


def _certified(
    model: nn.Module,
    test: Data,
    guarantee: Guarantee,
    eps: float,
    setting: Setting,
    run: Path,
    name: str,
    seed: int,
) -> Record:
    # In float32 the worst case of rounding takes most of the radius of nets with long sums.
    double = Double(deepcopy(model)).eval()
    classifier = Plain(double, "lipschitz", steps=setting.steps, seed=seed)
    place = run / name.replace(", ", "-").replace(" ", "-")
    how = {"guarantee": guarantee, "radii": (eps / 2, 2 * eps)}
    return evaluated(classifier, test, Threat("l2", eps), place, name, **how)


def _sign_test(more: int, less: int) -> float:
    """Return the two-sided p-value that both happen equally often."""
    larger = torch.tensor([float(max(more, less))])
    return min(2 * binomial_p_value(larger, torch.tensor([float(more + less)])).item(), 1.0)


def _where(record: Record, votes: torch.Tensor, eps: float) -> str:
    split, same = judged_sets.sets_where_split(record, votes, eps)
    words = ["-" if found is None else f"{100 * found.value:.1f} %" for found in (split, same)]
    return (
        f"a set of two or more is certified on {words[0]} of the images with split votes, on"
        f" {words[1]} of the others"
    )
