"""Read the named data sets from the files of `$SUREFOOT_DATA`; never from the network.

CIFAR-10H: Peterson et al. 2019. CIFAR-10N: Wei et al. 2022. Both are for non-commercial use.
"""

import os
from pathlib import Path

import numpy as np
import torch

from surefoot.data import npz
from surefoot.data.dataset import Data

PREFIX = {
    "mnist": "mnist",
    "fashion-mnist": "fashion_mnist",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "eurosat": "eurosat",
    "tiny-imagenet": "tiny_imagenet",
}
PARTS = {("cifar10", "train"): 5}
SAMPLES = {
    ("cifar100", "train"): "cifar100_train_15000.npz",
    ("cifar100", "test"): "cifar100_test_5000.npz",
}
"""Files with a part of a set, as many images of each class: read where the whole is missing."""
LEAST_AGREEMENT = 0.9


def data_folder() -> Path:
    """Return the folder of the named sets: `$SUREFOOT_DATA`, or `surefoot` in the user's cache."""
    given = os.environ.get("SUREFOOT_DATA")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "surefoot"


def files(name: str, split: str) -> list[str]:
    """Name the files that hold one split of a set, in the order of the rows."""
    stem, parts = f"{PREFIX[name]}_{split}", PARTS.get((name, split), 1)
    sample = SAMPLES.get((name, split), "")
    if sample and not (data_folder() / f"{stem}.npz").is_file():
        return [sample] if (data_folder() / sample).is_file() else [f"{stem}.npz"]
    if parts == 1:
        return [f"{stem}.npz"]
    return [f"{stem}_{part}of{parts}.npz" for part in range(1, parts + 1)]


def official(split: str, name: str) -> Data:
    """Return a set as published: `[N, 1, 28, 28]` (MNIST) to `[N, 3, 64, 64]` (EuroSAT).

    CIFAR-100 has its fine labels (of 15,000 and 5,000 images, where only `SAMPLES` are there),
    EuroSAT its visible bands; "test" of Tiny-ImageNet is its
    labelled validation split.
    """
    parts = [_read(file, name, ("x", "y", "classes")) for file in files(name, split)]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in ("x", "y")}
    return npz.build(name, {**arrays, "classes": parts[0]["classes"]})


def cifar10h(split: str) -> Data:
    """Return the CIFAR-10 test images with the fractions of about fifty human votes each."""
    images = official(split, "cifar10")
    counts = _read("cifar10h.npz", "cifar10h", ("counts",))["counts"].astype(np.float32)
    return _with_votes("cifar10h", images, counts)


def cifar10n(split: str) -> Data:
    """Return the CIFAR-10 train images with the fractions of three votes; labels stay clean."""
    images = official(split, "cifar10")
    votes = _read("cifar10n_train.npz", "cifar10n", ("random1", "random2", "random3"))
    one_hot = np.eye(len(images.classes), dtype=np.float32)
    counts = sum(one_hot[votes[f"random{annotator}"]] for annotator in (1, 2, 3))
    return _with_votes("cifar10n", images, np.asarray(counts))


def cifar100_ood(split: str) -> Data:
    """Return 2,000 CIFAR-100 test images, twenty of each class, as foreign input for CIFAR-10."""
    file = f"ood_cifar100_{split}_2000.npz"
    arrays = _read(file, "cifar100-ood", ("x", "fine", "fine_names"))
    renamed = {"x": arrays["x"], "y": arrays["fine"], "classes": arrays["fine_names"]}
    return npz.build("cifar100-ood", renamed)


def _read(file: str, name: str, needed: tuple[str, ...]) -> npz.Arrays:
    folder = data_folder()
    if not (folder / file).is_file():
        source = "$SUREFOOT_DATA" if os.environ.get("SUREFOOT_DATA") else "SUREFOOT_DATA is not set"
        raise FileNotFoundError(
            f"data set `{name}` needs the file {file}; looked in {folder} ({source})."
            f" How to get it: surefoot data fetch {name}"
        )
    return npz.read(folder / file, needed)


def _with_votes(name: str, data: Data, counts: np.ndarray) -> Data:
    if counts.shape != (len(data), len(data.classes)):
        raise ValueError(
            f"`{name}` needs votes of shape {(len(data), len(data.classes))}, a row per image;"
            f" found {counts.shape}. The votes and the images are of different sets."
        )
    totals = counts.sum(1, keepdims=True)
    if not totals.all():
        raise ValueError(f"`{name}`: row {int(totals.argmin())} got no vote. Replace the file.")
    # Votes and labels agree on most images; far less means that the rows are in another order.
    agreement = float((counts.argmax(1) == data.labels.numpy()).mean())
    if agreement < LEAST_AGREEMENT:
        raise ValueError(
            f"`{name}`: the votes agree with the labels on {agreement:.0%} of the rows; at least"
            f" {LEAST_AGREEMENT:.0%} was expected. Images and votes are not in the same order."
        )
    fractions = torch.from_numpy(counts / totals)
    return Data(data.images, data.labels, classes=data.classes, probabilities=fractions, name=name)
