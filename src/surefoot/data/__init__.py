"""Data sets behind one front door, `load`: bundled, toys, named sets, files, folders, the hub."""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from surefoot.data import blended, digits, folder, hub, named, npz, toys
from surefoot.data.dataset import Data
from surefoot.data.fetch import fetch
from surefoot.data.named import data_folder
from surefoot.data.shuffled import shuffled

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
FORMS = "a path ending in .npz, a folder of images by class, hf:owner/name, or shuffled:NAME"


def load(name: str | Path, split: str = "test") -> Data:
    """Read one split of a data set, by name or by place.

    Names: digits, moons, blended-digits, narrow-corridor, s-corridor, crescents, two-distance,
    lms-5, lms-5-50d, ms-5-7 (no file needed); mnist, fashion-mnist, cifar10, cifar10h, cifar10n,
    cifar100, eurosat, tiny-imagenet, cifar100-ood (files of `$SUREFOOT_DATA`). Places: a path
    ending in .npz, a folder of images by class, `hf:owner/name` (the only form that may use the
    network). `shuffled:` before any of these permutes the pixels of its images. An .npz file, or a
    folder without `train` and `test`, is one set: it is the same for either split.

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
    name = str(name)
    if name.startswith("hf:"):
        return hub.load(name.removeprefix("hf:"), split)
    if name.startswith("shuffled:"):
        return shuffled(load(name.removeprefix("shuffled:"), split))
    source, splits = SOURCES.get(name, (None, SPLITS))
    if split not in splits:
        raise ValueError(f"`{name}` has only the splits {list(splits)}; asked for `{split}`.")
    if source is not None:
        return source(split)
    path = Path(name).expanduser()
    if name.endswith(".npz"):
        return npz.load(path)
    if path.is_dir():
        return folder.load(path, split)
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), NAMES, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    names = ", ".join(NAMES)
    return f"no data set `{name}`, and no such folder.{hint} Names: {names}; or give {FORMS}."
