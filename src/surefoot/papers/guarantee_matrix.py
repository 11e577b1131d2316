"""The matrix: each guarantee certified and attacked by each certificate, one net a guarantee."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from surefoot.certify.lipschitz import gloro
from surefoot.data import load
from surefoot.evaluation import metrics
from surefoot.evaluation.classifiers import Classifier, Plain, Smoothed
from surefoot.evaluation.record import Record
from surefoot.guarantees import Guarantee, LabelOrUncertain, Local
from surefoot.models import Double
from surefoot.papers.accuracy_table import trained
from surefoot.papers.drawing.matrix_figure import matrix_figure
from surefoot.papers.experiment import Outcome, Setting, compare, evaluated
from surefoot.papers.set_tables import CertifiedNet, checked
from surefoot.stats import Interval
from surefoot.threat import Threat
from surefoot.uncertainty import Selective, by_coverage
from surefoot.uncertainty.logit_margin import logit_gap
from surefoot.uncertainty.vote import Vote

COVERAGE = 0.9
"""Fraction of training images that is accepted, at least: by a vote, under noise."""
FITTED = 2_000
"""Training images that choose the threshold."""
Cell = tuple[str, Guarantee, Classifier]
"""Name of the row, what is guaranteed, who answers."""


@dataclass(frozen=True)
class Column:
    """Nets that one kind of certificate is made for.

    Args:
        nets: one a guarantee of sets, the first for the label alone. A vote has one net for all:
            then the recipe of the first trains it, with its noise.
        setting: sizes.
        threat: norm and radius.
    """

    nets: Sequence[CertifiedNet]
    setting: Setting
    threat: Threat


def guarantee_matrix(
    folder: Path,
    seed: int,
    *,
    constants: Column,
    votes: Column,
    bounds: Column,
    samples: int,
) -> Outcome:
    """Certify and attack every guarantee, by Lipschitz constants, smoothing and relaxations.

    Args:
        folder: of the runs.
        seed: of everything.
        constants: Lipschitz nets.
        votes: the net of the vote.
        bounds: plain nets, certified by relaxations.
        samples: most noise samples of a certificate.
    """
    cells: Mapping[str, tuple[Column, Iterator[Cell]]] = {
        "Lipschitz": (constants, _plain(folder, seed, constants)),
        "smoothing": (votes, _votes(folder, seed, votes, samples)),
        "relaxation": (bounds, _bounded(folder, seed, bounds)),
    }
    records: dict[str, list[Record]] = {}
    for column, (given, found) in cells.items():
        test, others = constants.setting.images(), load(constants.setting.data, "train")
        for name, guarantee, classifier in found:
            how = {"guarantee": guarantee, "radii": (given.threat.eps / 2,)}
            how |= {"limits": True, "others": others}
            place = folder / column / name.replace(", ", "-").replace(" ", "-")
            record = evaluated(classifier, test, given.threat, place, name, **how)
            records.setdefault(column, []).append(record)
    compared = [
        entry
        for column, found in records.items()
        for record in found
        for entry in compare(record.header.name, figures_of(record, column))
    ]
    everything = [record for found in records.values() for record in found]
    drawn = partial(matrix_figure, records)
    return Outcome(compared, everything, {"matrix": drawn}, [checked(everything)])


def figures_of(record: Record, column: str) -> dict[str, Interval]:
    """Return what stands in one cell of the matrix."""
    eps = record.header.eps
    found = {
        "certified": metrics.certified_accuracy(record, eps),
        "attacked": metrics.attacked_accuracy(record, eps),
        "clean": metrics.clean_accuracy(record),
    }
    return {f"{name}, {column}": value for name, value in found.items() if value is not None}


def _plain(folder: Path, seed: int, column: Column) -> Iterator[Cell]:
    """Give the Lipschitz nets: sets, then the first net rejecting what is not certified at eps."""
    setting = column.setting

    def plain(net: nn.Module) -> Plain:
        return Plain(net, "lipschitz", steps=setting.steps, seed=seed)

    first: nn.Module | None = None
    shape = tuple(setting.images().inputs(slice(0, 1)).shape[1:])
    for one in column.nets:
        _, model = trained(one.row, setting, folder, seed)
        double = Double(deepcopy(model)).eval()
        first = double if first is None else first
        yield one.row.name, one.guarantee, plain(double)
    assert first is not None
    yield from _rejecting(plain(gloro(first, column.threat.eps / 2, shape).eval()))


def _votes(folder: Path, seed: int, column: Column, samples: int) -> Iterator[Cell]:
    """Give the votes of one net under noise, decided at eps."""
    setting, noisy, eps = column.setting, column.nets[0].row, column.threat.eps
    _, model = trained(replace(noisy, name="noise"), setting, folder, seed)
    sigma = noisy.sigma

    def vote(net: nn.Module) -> Smoothed:
        radii = (eps / 2, eps * (1 + 1e-12))
        return Smoothed(Vote(net, sigma), n_certify=samples, seed=seed, radii=radii)

    for one in column.nets:
        yield one.row.name, one.guarantee, vote(model)
    few = load(setting.data, "train").inputs(slice(0, FITTED))
    threshold, _ = by_coverage(model, few, "entropy", COVERAGE, sigma=sigma)
    yield from _rejecting(vote(Selective(model, "entropy", threshold).eval()))


def _bounded(folder: Path, seed: int, column: Column) -> Iterator[Cell]:
    """Give plain nets: sets, then the first net rejecting by a gap of logits."""
    setting = column.setting

    def plain(net: nn.Module) -> Plain:
        return Plain(net, "relaxation", steps=setting.steps, seed=seed)

    first: nn.Module | None = None
    for one in column.nets:
        _, model = trained(one.row, setting, folder / "bounds", seed)
        first = model.eval() if first is None else first
        yield one.row.name, one.guarantee, plain(model.eval())
    assert first is not None
    data = load(setting.data, "train")
    with torch.no_grad():
        best = first(data.inputs(slice(0, FITTED))).topk(2).values
    gap = torch.quantile(best[:, 0] - best[:, 1], 1 - COVERAGE).item()
    yield from _rejecting(plain(logit_gap(first, gap, len(data.classes)).eval()))


def _rejecting(classifier: Classifier) -> Iterator[Cell]:
    """Give both guarantees of a net that rejects."""
    yield "label, accepted (i)", Local(), classifier
    yield "label or uncertain (ii)", LabelOrUncertain(), classifier
