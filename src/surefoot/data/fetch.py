"""Download a named data set once, into the layout that `named.py` reads."""

import os
import tempfile
from pathlib import Path

import numpy as np

from surefoot.data import hub, named
from surefoot.data.dataset import Data

REPOSITORIES = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100#fine_label",
    "eurosat": "timm/eurosat-rgb",
}
BY_HAND = {
    "cifar10h": "cifar10h.npz with `counts` (10000, 10), from data/cifar10h-counts.npy of"
    " https://github.com/jcpeterson/cifar-10h (non-commercial)",
    "cifar10n": "cifar10n_train.npz with `random1`, `random2`, `random3` (50000,), from"
    " https://github.com/UCSC-REAL/cifar-10-100n (non-commercial)",
    "tiny-imagenet": "tiny_imagenet_train.npz and tiny_imagenet_test.npz (the validation images),"
    " each with `x` (N, 64, 64, 3) uint8 (grey images as RGB), `y` (N,) and `classes`",
    "cifar100-ood": "ood_cifar100_test_2000.npz with `x` (2000, 32, 32, 3), `fine` and"
    " `fine_names`, from the test images of CIFAR-100",
}


def fetch(name: str) -> list[Path]:
    """Download both splits of a named set into the data folder; this uses the network.

    A split whose files are all there is kept as it is. A file appears under its name only when it
    is complete.

    Returns:
        The files of the set.

    Raises:
        ImportError: the extra `hf` is not installed.
        ValueError: the set is unknown, must be put there by hand, or cannot be downloaded.
    """
    if name in BY_HAND:
        raise ValueError(
            f"`{name}` is not downloaded. Put this file into {named.data_folder()}:"
            f" {BY_HAND[name]}."
        )
    if name not in REPOSITORIES:
        raise ValueError(f"`{name}` cannot be fetched; the names are {sorted(REPOSITORIES)}.")
    return [file for split in ("train", "test") for file in _fetch_split(name, split)]


def _fetch_split(name: str, split: str) -> list[Path]:
    folder = named.data_folder()
    paths = [folder / file for file in named.files(name, split)]
    if not all(path.is_file() for path in paths):
        _write(hub.load(REPOSITORIES[name], split), paths)
    return paths


def _write(data: Data, paths: list[Path]) -> None:
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    images = data.images.permute(0, 2, 3, 1).numpy()
    x = np.array_split(images[..., 0] if images.shape[3] == 1 else images, len(paths))
    y = np.array_split(data.labels.numpy().astype(np.uint8), len(paths))
    classes = np.array(data.classes)
    # In the same folder, hence on the same disk: there a move is atomic.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as unfinished:
        for path, x_part, y_part in zip(paths, x, y, strict=True):
            np.savez_compressed(Path(unfinished, path.name), x=x_part, y=y_part, classes=classes)
        for path in paths:
            os.replace(Path(unfinished, path.name), path)
