"""Classifiers that stand beside a limit: trained here, or borrowed with the weights of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from surefoot.data import Data
from surefoot.evaluation.classifiers import Plain
from surefoot.evaluation.record import Record
from surefoot.papers.accuracy_table import trained
from surefoot.papers.experiment import Row, Setting, evaluated, net_of
from surefoot.threat import Threat


@dataclass(frozen=True)
class ComparedNet:
    """One classifier.

    Args:
        kind: "standard", "adversarially trained", ...: its colour.
        row: net and recipe.
        setting: sizes; also of the attack.
        borrowed: as its starting weights say, without any training.
    """

    kind: str
    row: Row
    setting: Setting
    borrowed: bool = False


def models(
    subjects: Sequence[ComparedNet], folder: Path, seed: int
) -> Iterator[tuple[ComparedNet, nn.Module]]:
    """Train the nets one by one, or read them back."""
    for one in subjects:
        if one.borrowed:
            yield one, net_of(one.setting, one.row, seed).eval()
        else:
            yield one, trained(one.row, one.setting, folder, seed)[1].eval()


def attacked(
    one: ComparedNet,
    model: nn.Module,
    data: Data,
    threat: Threat,
    folder: Path,
    seed: int,
    *,
    limits: bool = False,
) -> Record:
    """Attack a net at the radius of the threat, with `limits` beside the estimated limit."""
    protocol, steps = one.setting.protocol, one.setting.steps
    classifier = Plain(model, steps=steps, seed=seed, protocol=protocol)
    place = folder / one.row.name / "attacked"
    return evaluated(classifier, data, threat, place, one.row.name, limits=limits)


def judged(
    one: ComparedNet, model: nn.Module, data: Data, threat: Threat, folder: Path, seed: int
) -> Record:
    """Evaluate a net without any attack."""
    place = folder / one.row.name / "clean"
    return evaluated(Plain(model, seed=seed), data, threat, place, one.row.name, attack=False)
