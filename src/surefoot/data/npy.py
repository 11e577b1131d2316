"""Read images from memory-mapped .npy files: larger than memory is no matter."""

from pathlib import Path

import numpy as np

from surefoot.data import layout
from surefoot.data.dataset import Data
from surefoot.data.on_disk import OnDisk
from surefoot.types import ValueRange

LABELS = "labels.npy"
CLASSES = "classes.txt"


def load(path: Path, value_range: ValueRange = (0.0, 1.0)) -> Data:
    """Map a .npy file, or all .npy files of a folder in sorted order, as images.

    `labels.npy` in the same folder holds the class indices of all rows, and `classes.txt` the names
    of the classes, one a line; neither must be there. A single file that is not called images.npy
    takes NAME-labels.npy before labels.npy.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no numbers, or rows of different shape, or not as many labels as images.
    """
    folder = path if path.is_dir() else path.parent
    images = tuple(sorted(shards(path))) if path.is_dir() else (path,)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}. Check the path (folder: {folder}).")
    own = folder / f"{path.stem}-{LABELS}"
    labels = own if own.is_file() and not path.is_dir() else folder / LABELS
    names = folder / CLASSES
    try:
        return Data(
            OnDisk(images),
            _read_labels(labels) if labels.is_file() else None,
            classes=names.read_text(encoding="utf-8").split("\n")[:-1] if names.is_file() else None,
            value_range=value_range,
            name=path.resolve().stem,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def shards(folder: Path) -> list[Path]:
    """List the .npy files of a folder that hold images."""
    return [path for path in folder.glob("*.npy") if not path.name.endswith(LABELS)]


def _read_labels(path: Path):
    try:
        return layout.labels_tensor(np.load(path, allow_pickle=False))
    except ValueError as error:
        raise ValueError(
            f"{path.name} must hold one class index an image ({error}). Write it with"
            " np.save(path, labels)."
        ) from error
