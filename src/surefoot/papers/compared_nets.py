"""Classifiers that stand beside a limit: trained here, or borrowed with the weights of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from surefoot.papers.accuracy_table import trained
from surefoot.papers.experiment import Row, Setting, net_of


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
