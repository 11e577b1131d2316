"""What an experiment is: a function at several scales, and what it gives beside published figures.

The data of an experiment (rows, settings, published figures) stand in one folder a paper; what kind
of experiment it is (a table of attacked accuracy, overfitting over epochs, ...) in one file a kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from surefoot.data import Data, data_folder, load
from surefoot.evaluation.bracket import bracket
from surefoot.evaluation.classifiers import Classifier, Plain, Protocol
from surefoot.evaluation.record import Record
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.models.io import load_weights
from surefoot.stats import Interval
from surefoot.streams import own_randomness
from surefoot.threat import Threat
from surefoot.training import Noisy, Recipe, Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Row:
    """One classifier of a table.

    Args:
        name: of the row; in the experiments of UDP, those under test begin with "udp" or "ls-udp".
        recipe: how it is trained.
        published: name of the figure ("clean", "linf 0.05") -> fraction in the paper.
        net: arguments of `models.build` that differ from the setting's.
        training: fields of `Training` that differ.
    """

    name: str
    recipe: Recipe
    published: Mapping[str, float] = field(default_factory=dict)
    net: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sigma(self) -> float:
        """Return the noise that the recipe trains with."""
        assert isinstance(self.recipe.perturbation, Noisy)
        return self.recipe.perturbation.sigma


@dataclass(frozen=True)
class Setting:
    """The size of a run.

    Args:
        data: data set.
        train: training images; 0 takes all but the validation images.
        test: evaluated images; 0 takes all.
        training: length, optimiser.
        net: arguments of `models.build`.
        validation: images drawn from the training split, never trained on.
        protocol: of the attacks, see `Plain`.
        steps: of the protocol "margins".
        start: safetensors file in the data folder with the weights that training starts from, where
            a row has no net of its own; "" draws them.
    """

    data: str
    train: int
    test: int
    training: Training
    net: Mapping[str, Any]
    validation: int = 0
    protocol: Protocol = "standard"
    steps: int = 100
    start: str = ""

    def plain(self, model: nn.Module, seed: int) -> Plain:
        """Return the model with the attack of this setting."""
        return Plain(model, steps=self.steps, seed=seed, protocol=self.protocol)

    def images(self, data: str = "") -> Data:
        """Load the evaluated images, of another data set where one is named."""
        return part(load(data or self.data), self.test)


@dataclass(frozen=True)
class Published:
    """A published figure beside ours.

    Args:
        row: classifier.
        figure: "clean", or norm and radius.
        published: in the paper; None if it has none.
        ours: of this run.
        low: lower end of our 95 % interval.
        high: upper end.
        fraction: False for a plain number, such as a mean size.
    """

    row: str
    figure: str
    published: float | None
    ours: float
    low: float
    high: float
    fraction: bool = True


def compare(
    row: str,
    figures: Mapping[str, Interval | float],
    published: Mapping[str, float] | None = None,
    *,
    fraction: bool = True,
) -> list[Published]:
    """Put figures of ours beside those of the paper, where it has them.

    Args:
        row: classifier.
        figures: name -> interval, or a number without one.
        published: the same names -> what the paper has.
        fraction: False for plain numbers.
    """
    known, lines = published or {}, []
    for name, ours in figures.items():
        one = ours if isinstance(ours, Interval) else Interval(ours, ours, ours)
        lines.append(Published(row, name, known.get(name), one.value, one.low, one.high, fraction))
    return lines


def point(row: str, place: float, ours: Interval) -> dict[str, Any]:
    """Return a point of a figure with its interval."""
    return {"row": row, "x": place, "y": ours.value, "low": ours.low, "high": ours.high}


Draw = Callable[[], "Figure"]
"""Draws a figure of the paper."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment gives.

    Args:
        compared: figures beside published ones.
        records: evaluations, for the page.
        figures: what draws each figure, by file name.
        findings: what the experiment says about itself, in sentences.
    """

    compared: list[Published]
    records: list[Record] = field(default_factory=list)
    figures: Mapping[str, Draw] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


Scales = Mapping[str, "partial[Outcome]"]
"""Scale -> what runs an experiment, given a folder and a seed."""


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    Args:
        name: of the command line.
        source: paper, table, data.
        remark: how our protocol differs from the published one, and what to expect.
        scales: "smoke" (seconds), "small" (minutes on two cores), "medium" (an hour or
            more), "paper" (as published) -> what runs it, given a folder and a seed.
    """

    name: str
    source: str
    remark: str
    scales: Scales


def part(data: Data, count: int) -> Data:
    """Return the first rows; 0 returns all."""
    return data.first(count) if count else data


def evaluated(
    classifier: Classifier, data: Data, threat: Threat, folder: Path, name: str, **how: Any
) -> Record:
    """Evaluate one classifier of an experiment: `Local` and no limit, unless `how` says otherwise.

    Args:
        classifier: with its certificate and attack.
        data: test images.
        threat: norm and headline radius.
        folder: of the record; a second call reads it back.
        name: of the row.
        how: further arguments of `bracket`.
    """
    usual: dict[str, Any] = {"guarantee": Local(), "limits": False, "command": "surefoot reproduce"}
    return bracket(classifier, data, threat=threat, folder=folder, name=name, **(usual | how))


def net_of(setting: Setting, row: Row, seed: int) -> nn.Module:
    """Build the untrained net of a row: the same initial weights for the same seed."""
    with own_randomness(seed):
        # A model made of nets has nothing in common with a net.
        made_of_nets = "nets" in row.net or "model" in row.net
        net = build(**(row.net if made_of_nets else {**setting.net, **row.net}))
    if setting.start and not row.net:
        inner = net[1] if "normalize" in setting.net and isinstance(net, nn.Sequential) else net
        load_weights(inner, data_folder() / setting.start)
    return net


def at_scales(
    kind: Callable[..., Outcome], scales: Mapping[str, Setting | Mapping[str, Any]], **shared: Any
) -> Scales:
    """Return one kind of experiment in several sizes: scale -> what runs it.

    Args:
        kind: function of a folder, a seed and keywords.
        scales: scale -> its keywords, or its `setting` alone.
        shared: keywords of every scale that has no other value for them.
    """
    own = {
        scale: {"setting": one} if isinstance(one, Setting) else one
        for scale, one in scales.items()
    }
    return {scale: partial(kind, **{**shared, **keywords}) for scale, keywords in own.items()}
