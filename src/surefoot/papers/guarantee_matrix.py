"""The matrix: each guarantee certified and attacked by each certificate, one net a guarantee."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

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
from surefoot.papers.experiment import Outcome, Row, Setting, compare, evaluated
from surefoot.papers.set_tables import CertifiedNet, checked
from surefoot.stats import Interval
from surefoot.threat import Threat
from surefoot.uncertainty import Selective, by_coverage
from surefoot.uncertainty.vote import Vote

COVERAGE = 0.9
"""Fraction of noisy training images that a vote accepts, at least."""
FITTED = 2_000
"""Training images that choose the threshold."""
Cell = tuple[str, Guarantee, Classifier]
"""Name of the row, what is guaranteed, who answers."""


def guarantee_matrix(
    folder: Path,
    seed: int,
    *,
    nets: Sequence[CertifiedNet],
    noisy: Row,
    setting: Setting,
    voted: Setting,
    eps: float,
    samples: int,
) -> Outcome:
    """Certify and attack every guarantee, by Lipschitz constants and by smoothing.

    Args:
        folder: of the runs.
        seed: of everything.
        nets: Lipschitz nets, the first trained for the label alone, the others for a set.
        noisy: the net of the vote, trained with its noise.
        setting: sizes of the Lipschitz nets.
        voted: sizes of the vote.
        eps: l2 radius.
        samples: most noise samples of a certificate.
    """
    test, others = setting.images(), load(setting.data, "train")
    columns: Mapping[str, Iterator[Cell]] = {
        "Lipschitz": _plain(folder, seed, nets, setting, eps),
        "smoothing": _votes(folder, seed, nets, noisy, voted, eps, samples),
    }
    records: dict[str, list[Record]] = {}
    for column, cells in columns.items():
        for name, guarantee, classifier in cells:
            how = {"guarantee": guarantee, "radii": (eps / 2,), "limits": True, "others": others}
            place = folder / column / name.replace(", ", "-").replace(" ", "-")
            record = evaluated(classifier, test, Threat("l2", eps), place, name, **how)
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


def _plain(
    folder: Path, seed: int, nets: Sequence[CertifiedNet], setting: Setting, eps: float
) -> Iterator[Cell]:
    """Give the Lipschitz nets: sets, then the first net rejecting what is not certified at eps."""

    def plain(net: nn.Module) -> Plain:
        return Plain(net, "lipschitz", steps=setting.steps, seed=seed)

    first: nn.Module | None = None
    shape = tuple(setting.images().inputs(slice(0, 1)).shape[1:])
    for one in nets:
        _, model = trained(one.row, setting, folder, seed)
        double = Double(deepcopy(model)).eval()
        first = double if first is None else first
        yield one.row.name, one.guarantee, plain(double)
    assert first is not None
    rejecting = plain(gloro(first, eps / 2, shape).eval())
    yield "label, accepted (i)", Local(), rejecting
    yield "label or uncertain (ii)", LabelOrUncertain(), rejecting


def _votes(
    folder: Path,
    seed: int,
    nets: Sequence[CertifiedNet],
    noisy: Row,
    setting: Setting,
    eps: float,
    samples: int,
) -> Iterator[Cell]:
    """Give the votes of one net under noise, decided at eps."""
    _, model = trained(noisy, setting, folder, seed)
    sigma = noisy.sigma

    def vote(net: nn.Module) -> Smoothed:
        radii = (eps / 2, eps * (1 + 1e-12))
        return Smoothed(Vote(net, sigma), n_certify=samples, seed=seed, radii=radii)

    for one in nets:
        yield one.row.name, one.guarantee, vote(model)
    few = load(setting.data, "train").inputs(slice(0, FITTED))
    threshold, _ = by_coverage(model, few, "entropy", COVERAGE, sigma=sigma)
    rejecting = Selective(model, "entropy", threshold).eval()
    yield "label, accepted (i)", Local(), vote(rejecting)
    yield "label or uncertain (ii)", LabelOrUncertain(), vote(rejecting)
