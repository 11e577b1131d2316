"""Read a folder of images, one sub-folder a class."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surefoot.data.dataset import Data

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
MODES = {"L": "grey", "RGB": "RGB"}


def load(path: Path, split: str) -> Data:
    """Read images by class: sub-folders in sorted order are the classes.

    Where the folder holds both `train` and `test`, the asked one is read; otherwise all of it, for
    either split. Files without an image suffix, and hidden ones, are passed over.

    Raises:
        ValueError: no classes, a class without images, an unreadable image, or images of different
            size or mode (grey or RGB).
    """
    root = path / split if all((path / part).is_dir() for part in ("train", "test")) else path
    members = {folder.name: _images(folder) for folder in _children(root) if folder.is_dir()}
    if len(members) < 2:
        raise ValueError(
            f"{root} must hold at least two sub-folders of images, one a class; found"
            f" {sorted(members)}."
        )
    named = ((str(file), _open(file)) for files in members.values() for file in files)
    labels = [label for label, files in enumerate(members.values()) for _ in files]
    return Data(path.resolve().name, stack(named), torch.tensor(labels), tuple(members))


def stack(named: Iterable[tuple[str, Any]]) -> torch.Tensor:
    """Stack named PIL images of one size and mode as uint8 `[N, planes, H, W]`."""
    arrays: list[np.ndarray] = []
    expected: tuple[Any, ...] = ()
    for name, image in named:
        if image.mode not in MODES:
            raise ValueError(
                f"{name}: images must be grey (mode L) or RGB; found mode {image.mode}."
                " Convert it with PIL: image.convert('RGB')."
            )
        found = (image.size, image.mode)
        expected = expected or found
        if found != expected:
            raise ValueError(
                f"{name}: all images must have one size and mode; expected {_describe(*expected)}"
                f" as the first image, found {_describe(*found)}. Resize or convert it."
            )
        arrays.append(np.asarray(image))
    if not arrays:
        raise ValueError("there must be at least one image; found none. The source is empty.")
    x = np.stack(arrays)
    planes_first = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(planes_first))


def _describe(size: tuple[int, int], mode: str) -> str:
    return f"{size[0]}x{size[1]} {MODES[mode]}"


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    files = [file for file in _children(folder) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(
            f"{folder} must hold the images of class `{folder.name}`; found none"
            f" ({', '.join(sorted(SUFFIXES))}). Remove the folder or fill it."
        )
    return files


def _open(file: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.load()
            return image
    # Pillow raises OSError, SyntaxError, ValueError and more, depending on the damage.
    except Exception as error:
        raise ValueError(
            f"{file} is not a readable image ({error}). Replace or remove it."
        ) from error
