"""What an experiment is: rows to train and evaluate, at a scale, beside published figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.training import Recipe, Training


@dataclass(frozen=True)
class Row:
    """One classifier of a table.

    Args:
        name: of the row.
        recipe: how it is trained.
        published: name of the figure ("clean", or a radius as text) -> share in the paper.
    """

    name: str
    recipe: Recipe
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """The size of a run.

    Args:
        data: data set.
        train: training images.
        test: evaluated images.
        training: length, optimiser.
        net: arguments of `models.build`.
        steps: of each attack search.
    """

    data: str
    train: int
    test: int
    training: Training
    net: Mapping[str, Any]
    steps: int = 100


@dataclass(frozen=True)
class Experiment:
    """A table of a paper.

    Args:
        source: paper and table.
        norm: of the threat.
        radii: of the columns; the largest is the headline.
        rows: classifiers.
        scales: name -> setting.
        remark: how our protocol differs from the published one.
    """

    source: str
    norm: str
    radii: tuple[float, ...]
    rows: tuple[Row, ...]
    scales: Mapping[str, Setting]
    remark: str


@dataclass(frozen=True)
class Published:
    """A published figure beside ours.

    Args:
        row: classifier.
        figure: "clean" or a radius.
        published: share in the paper; None if it has none.
        ours: our share.
        low: lower end of our 95 % interval.
        high: upper end.
    """

    row: str
    figure: str
    published: float | None
    ours: float
    low: float
    high: float
