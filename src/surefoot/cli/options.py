"""What the options of several commands share: seeds, rows, and errors about unused ones."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

if TYPE_CHECKING:
    from surefoot.data import Data


def check_unused(
    options: object, names: Sequence[str], reason: str, usual: object | None = None
) -> None:
    """Raise if an option that would be ignored was given: it differs from its default.

    Args:
        options: a dataclass.
        names: of its fields in question.
        reason: why they have no effect.
        usual: holds the defaults; None takes those of the class.
    """
    for one in fields(options):  # pyright: ignore[reportArgumentType]
        default = default_of(one) if usual is None else getattr(usual, one.name)
        if one.name in names and getattr(options, one.name) != default:
            raise ValueError(f"{flag(one.name)} has no effect {reason}; leave it out")


def default_of(one: Field[Any]) -> Any:
    """Return the default of a field of a dataclass; MISSING if it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def flag(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def command_line() -> str:
    """Return the command as it was typed."""
    return "surefoot " + shlex.join(sys.argv[1:])


def _seed(words: list[str]) -> int:
    """Read a seed; "random" takes one from the system, and prints which."""
    if words[0] != "random":
        return int(words[0])
    from surefoot.streams import system_seed

    seed = system_seed()
    print(f"seed {seed} from the system; give --seed {seed} to go on with a run that was stopped")
    return seed


Seed = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|random",
        instance_from_str=_seed,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Of noise and starts; "random" where images come from an adversary who could know the seed."""


def check_seeds(*seeds: int) -> None:
    """Raise unless torch can take the seeds."""
    if not all(0 <= seed < 2**63 for seed in seeds):
        raise ValueError(
            f"seeds must be at least 0 and below 2**63; found {', '.join(map(str, seeds))}"
        )


T = TypeVar("T")


def boxed(settings: T, data: "Data") -> T:
    """Return settings whose threats are cut with the box of the data, not with the usual [0, 1].

    Args:
        settings: a threat, or a dataclass that holds some; a box of another range is kept.
        data: knows its value range.
    """
    from surefoot.threat import Threat

    if isinstance(settings, Threat):
        usual = (settings.low, settings.high) == (0.0, 1.0)
        return replace(settings, low=data.box[0], high=data.box[1]) if usual else settings
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    parts = {one.name: getattr(settings, one.name) for one in fields(settings)}
    changed = {name: boxed(part, data) for name, part in parts.items()}
    other = {name: part for name, part in changed.items() if part is not parts[name]}
    return replace(settings, **other) if other else settings


@dataclass(frozen=True)
class Source:
    """How the data are read.

    Args:
        input_size: Height and width that the images of a folder or of the hub are resized to, where
            they differ; the name of the data in the record says so.
        value_range: Lowest and highest legal value of an .npz, .npy or CSV file; "none": no box,
            radii are then in units of the features (usual for CSV). By default [0, 1], or what the
            .npz says. The threat takes this box, too, unless --low and --high say another.
    """

    input_size: tuple[int, int] | None = None
    value_range: tuple[float, float] | Literal["none"] | None = None

    def read(self, data: str, split: str) -> "Data":
        """Read one split of a data set."""
        from surefoot.data import load

        if self.value_range is None:
            return load(data, split, input_size=self.input_size)
        known = None if self.value_range == "none" else self.value_range
        return load(data, split, input_size=self.input_size, value_range=known)


@dataclass(frozen=True)
class Rows:
    """The images that are evaluated.

    Args:
        data: Name of the data set (digits, moons, mnist, fashion-mnist, cifar10, cifar10h, ...), a
            .npz, .npy (memory-mapped) or .csv file, a folder of images by class, or hf:owner/name.
        split: Part of the data set that the images come from: train, test, or any sub-folder.
        source: How they are read.
        count: Number of images, drawn by the data seed; 0 takes all.
        data_seed: Seed of that draw.
    """

    data: str = "digits"
    split: str = "test"
    count: int = 500
    data_seed: int = 0
    source: Source = field(default_factory=Source)

    def searched(self, others: "Data | None") -> "Data | None":
        """Return data that are not evaluated, where limits are searched: the training split.

        Without one: the other images of the split.
        """
        if self.split == "test":
            with suppress(ValueError, FileNotFoundError):
                return self.source.read(self.data, "train")
        return others

    def load(self) -> "tuple[Data, Data | None]":
        """Return the images asked for, and the others of the split (None if none are left)."""
        check_seeds(self.data_seed)
        if self.count < 0:
            raise ValueError(f"--count must be at least 0; found {self.count}")
        whole = self.source.read(self.data, self.split)
        if self.count == 0 or self.count >= len(whole):
            check_unused(self, ["data_seed"], f"where all {len(whole)} images are taken")
            return whole, None
        return whole.split(self.count, self.data_seed)
