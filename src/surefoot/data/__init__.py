"""Data sets behind one front door, `load`: bundled, toys, named sets, files, folders, the hub."""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from surefoot.data import (
    blended,
    digits,
    folder,
    hub,
    named,
    npy,
    npz,
    objects,
    tabular,
    toys,
)
from surefoot.data.dataset import Data
from surefoot.data.fetch import fetch
from surefoot.data.named import data_folder
from surefoot.data.shuffled import shuffled
from surefoot.types import ValueRange

__all__ = ["NAMES", "Data", "data_folder", "fetch", "load", "shuffled"]

SPLITS = ("train", "test")
SOURCES: dict[str, tuple[Callable[[str], Data], tuple[str, ...]]] = {
    "digits": (digits.load, SPLITS),
    "moons": (toys.moons, SPLITS),
    "blended-digits": (blended.load, SPLITS),
    **{name: (partial(toys.named_toys.load, name=name), SPLITS) for name in toys.named_toys.TOYS},
    **{name: (partial(named.official, name=name), SPLITS) for name in named.PREFIX},
    "cifar10h": (named.cifar10h, ("test",)),
    "cifar10n": (named.cifar10n, ("train",)),
    "cifar100-ood": (named.cifar100_ood, ("test",)),
}
NAMES = tuple(SOURCES)
"""Names of data sets that `load` knows."""
FORMS = (
    "a path ending in .npz, .npy or .csv, a folder of images by class or of .npy files,"
    " hf:owner/name, or shuffled:NAME"
)


def load(
    source: Any,
    split: str = "test",
    *,
    input_size: tuple[int, int] | None = None,
    value_range: ValueRange | Literal["default"] = "default",
) -> Data:
    """Read one split of a data set, by name or by place, or a data set that is a Python object.

    Names: digits, moons, blended-digits, narrow-corridor, s-corridor, crescents, two-distance,
    lms-5, lms-5-50d, ms-5-7 (no file needed); mnist, fashion-mnist, cifar10, cifar10h, cifar10n,
    cifar100, eurosat, tiny-imagenet, cifar100-ood (files of `$SUREFOOT_DATA`). Places: a path
    ending in .npz, .npy (memory-mapped) or .csv (`file.csv#column` names the labels), a folder of
    images by class or of .npy files, `hf:owner/name` (the only form that may use the network).
    `shuffled:` before any of these permutes the pixels of its images. A file, or a folder without
    splits, is one set: it is the same for either split. Objects: a torch `Dataset` or `DataLoader`,
    a Hugging Face data set.

    Args:
        source: name, place or object.
        split: part of it; a folder or a data set of the hub may have any.
        input_size: height and width that images of files are resized to.
        value_range: lowest and highest legal value of float inputs, None: no box; by default what
            the source says: [0, 1], the array `value_range` of an .npz, no box for a CSV file.

    Raises:
        FileNotFoundError: a file of the set is not there; says what to do.
        ImportError: `hf:` without the extra `hf`.
        ValueError: unknown name or split, or faulty data; says which and why.

    Example:
        >>> data = load("digits")
        >>> images, labels = data.batch(slice(0, 2))
        >>> tuple(images.shape), len(data), len(data.classes)
        ((2, 1, 8, 8), 500, 10)
    """
    if not isinstance(source, str | Path):
        known = (0.0, 1.0) if value_range == "default" else value_range
        return objects.load(source, input_size, known)
    name = str(source)
    if name.startswith("shuffled:"):
        inner = name.removeprefix("shuffled:")
        return shuffled(load(inner, split, input_size=input_size, value_range=value_range))
    if name in SOURCES:
        folder.check_no_size(name, input_size)
        _check_no_range(name, value_range)
        reader, splits = SOURCES[name]
        if split not in splits:
            raise ValueError(f"`{name}` has only the splits {list(splits)}; asked for `{split}`.")
        return reader(split)
    read = _reader(name, split)
    if read.one_set and split not in SPLITS:
        raise ValueError(
            f"`{name}` has only the splits {list(SPLITS)}, the same for both; asked for `{split}`."
        )
    if read.arrays:
        folder.check_no_size(name, input_size)
        return read.load(**({} if value_range == "default" else {"value_range": value_range}))
    _check_no_range(name, value_range)
    return read.load(size=input_size)


class _Reader(NamedTuple):
    """Reads a place: files of arrays have a value range, images can be resized."""

    load: Callable[..., Data]
    arrays: bool
    one_set: bool = False


def _reader(name: str, split: str) -> _Reader:
    """Find the loader of a place, by prefix and suffix."""
    if name.startswith("hf:"):
        return _Reader(partial(hub.load, name.removeprefix("hf:"), split), False)
    place, _, column = name.partition("#")
    path = Path(place).expanduser()
    if place.endswith(".csv"):
        return _Reader(partial(tabular.load, path, column), True, True)
    path = Path(name).expanduser()
    if name.endswith(".npz"):
        return _Reader(partial(npz.load, path), True, True)
    if name.endswith(".npy"):
        return _Reader(partial(npy.load, path), True, True)
    if not path.is_dir():
        raise ValueError(_unknown(name))
    for inner in (path / split, path):
        if inner.is_dir() and npy.shards(inner):
            return _Reader(partial(npy.load, inner), True, inner == path)
    return _Reader(partial(folder.load, path, split), False)


def _check_no_range(name: str, value_range: object) -> None:
    if value_range != "default":
        raise ValueError(
            f"`{name}` holds images, whose values lie in [0, 1]: a value range has no effect. Leave"
            " it out; another scale belongs into the model (surefoot.models.Normalize)."
        )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), NAMES, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    names = ", ".join(NAMES)
    return f"no data set `{name}`, and no such folder.{hint} Names: {names}; or give {FORMS}."
