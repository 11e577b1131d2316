"""Read a folder of images, one sub-folder a class."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surefoot.data.dataset import Data

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What is opened, by content: other formats of Pillow start programs (EPS) or are rarely tested."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
Size = tuple[int, int]
"""Height and width."""
SPLITS = {"train", "test", "val", "valid", "validation"}
MODES = {"L": "grey", "RGB": "RGB", "I;16": "16-bit grey", "I;16B": "16-bit grey"}
DEEP = 257
"""65,535 / 255: what one step of 8 bits is in 16 bits."""


def load(path: Path, split: str, size: Size | None = None) -> Data:
    """Read images by class: sub-folders in sorted order are the classes, whatever lies below them.

    Where the folder holds the asked split (a sub-folder of sub-folders), or both `train` and
    `test`, or nothing but splits, that split is read and the classes are those of all splits;
    otherwise all of it is read, for either split. An empty sub-folder is a class without images; a
    folder of images without sub-folders has no labels. Hidden files and files without an image
    suffix are passed over. 16-bit grey images become 8-bit ones (65,535 means 1.0).

    Args:
        path: of the folder.
        split: name of the sub-folder.
        size: height and width that every image is resized to (bilinear, antialiased); None: all
            images must have one size.

    Raises:
        ValueError: no classes, a class whose files are no images, an image that cannot be read or
            is too large, images of different size or mode (grey or RGB), a file that is no regular
            file, or a link that leaves the folder.
    """
    splits = _splits(path, split)
    if splits and split not in splits:
        raise ValueError(
            f"{path} has the splits {sorted(splits)}; asked for {split!r}. Take one of them"
            f" (--split {sorted(splits)[0]}). If they are classes, move them into a folder"
            f" {path.name}/{split}."
        )
    root = path / split if splits else path
    classes = sorted({name for part in splits or [""] for name in _folders(path / part)})
    flat = [] if classes else _unlabelled(root, path.resolve())
    if len(classes) < 2 and not flat:
        raise ValueError(
            f"{root} must hold at least two sub-folders of images, one a class; found {classes}."
            " Images without labels lie in the folder itself."
        )
    members = [_images(root / name, path.resolve()) for name in classes] or [flat]
    named = ((str(file), _open(file)) for files in members for file in files)
    labels = [label for label, files in enumerate(members) for _ in files]
    images, size_text = stack(named, size)
    return Data(
        images,
        torch.tensor(labels) if classes else None,
        classes=tuple(classes) or None,
        name=path.resolve().name + size_text,
    )


def stack(named: Iterable[tuple[str, Any]], size: Size | None = None) -> tuple[torch.Tensor, str]:
    """Stack named PIL images of one mode as uint8 `[N, planes, H, W]`.

    Args:
        named: names for messages, and images.
        size: height and width to resize to; None: all images must have one size.

    Returns:
        the images, and what the name of the data says of a resize: "" or " (resized to HxW)".
    """
    arrays: list[np.ndarray] = []
    expected: tuple[Size, str] | None = None
    resized = False
    for name, image in named:
        if image.mode not in MODES:
            raise ValueError(
                f"{name}: images must be grey (mode L, or I;16) or RGB; found mode {image.mode}."
                f" {_remedy(image.mode)}"
            )
        resized = resized or (size is not None and image.size != (size[1], size[0]))
        found = ((size[1], size[0]) if size else image.size, MODES[image.mode])
        expected = expected or found
        if found != expected:
            raise ValueError(
                f"{name}: all images must have one size and mode; expected {_describe(*expected)}"
                f" as the first image, found {_describe(*found)}. Resize or convert it"
                + (" (--input-size HEIGHT WIDTH resizes all)." if size is None else ".")
            )
        arrays.append(_sized(image, size))
    if not arrays:
        raise ValueError("there must be at least one image; found none. The source is empty.")
    x = np.stack(arrays)
    planes_first = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    size_text = f" (resized to {size[0]}x{size[1]})" if size and resized else ""
    return torch.from_numpy(np.ascontiguousarray(planes_first)), size_text


def check_no_size(name: str, size: Size | None) -> None:
    """Raise if arrays are to be resized: only images are.

    Raises:
        ValueError: a size is given.
    """
    if size is not None:
        raise ValueError(
            f"`{name}` holds no image files: an input size has no effect. Leave it out; arrays are"
            " resized with torch.nn.functional.interpolate before they are saved."
        )


def _sized(image: Any, size: Size | None) -> np.ndarray:
    from PIL import Image

    pixels = _eight_bits(np.asarray(image))
    if size is None or image.size == (size[1], size[0]):
        return pixels
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Round 16-bit pixels to the nearest of 256 levels, so that white stays white."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + DEEP // 2) // DEEP).astype(np.uint8)


def _remedy(mode: str) -> str:
    if mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return (
            "Put it on a background with PIL: image = image.convert('RGBA'); flat ="
            " Image.new('RGB', image.size, 'white'); flat.paste(image, mask=image.getchannel('A'))."
        )
    if mode in ("I", "F"):
        return (
            "Its values have no known range: scale them to [0, 1] and save all images as one .npz,"
            " np.savez(path, x=floats, y=labels)."
        )
    return f"Convert it with PIL: image.convert('{'L' if mode == '1' else 'RGB'}')."


def _describe(size: tuple[int, int], mode: str) -> str:
    return f"{size[0]}x{size[1]} {mode}"


def _splits(path: Path, split: str) -> list[str]:
    """Name the splits, if the sub-folders are splits and not classes."""
    folders = _folders(path)
    known = [name for name in folders if name in SPLITS]
    if {"train", "test"} <= set(known) or (known and known == folders):
        return known if split in known or split not in folders else folders
    # Splits of other names: folders of folders that hold the same classes.
    inner = {name: _folders(path / name) for name in folders if not _has_files(path / name)}
    asked = inner.get(split, [])
    alike = len(inner) == len(folders) > 1 and len({tuple(names) for names in inner.values()}) == 1
    return list(inner) if asked or (alike and len(next(iter(inner.values()))) > 1) else []


def _has_files(folder: Path) -> bool:
    return any(child.is_file() for child in _children(folder))


def _folders(path: Path) -> list[str]:
    children = _children(path) if path.is_dir() else []
    for dead in (child for child in children if not child.exists()):
        raise ValueError(f"{dead} is a link to nothing. Mend or remove it: it may be a class.")
    return [child.name for child in children if child.is_dir()]


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _images(folder: Path, root: Path) -> list[Path]:
    """List the images of a class, those in sub-folders too; the class may lack in this split."""
    if not folder.exists():
        return []
    files = list(_walk(folder, root, (root,)))
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if files and not images:
        raise ValueError(
            f"{folder} must hold the images of class `{folder.name}`; found {len(files)} files,"
            f" none of them an image by its suffix ({', '.join(sorted(SUFFIXES))}). Convert them."
            " An empty folder is a class without images; if it is no class, move it elsewhere."
        )
    return images


def _unlabelled(folder: Path, root: Path) -> list[Path]:
    """List the images that lie in the folder itself."""
    images = [child for child in _children(folder) if child.suffix.lower() in SUFFIXES]
    return [file for image in images for file in _walk(image, root, ())]


def _walk(path: Path, root: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the regular files below a path; raise on links out of the root and on other things."""
    real = path.resolve()
    if not real.is_relative_to(root) or real in above:
        what = "runs in a circle" if real in above else "leaves the folder of the data"
        raise ValueError(
            f"{path} is a link to {real}, which {what}. Copy what it points to into the folder, or"
            " remove the link."
        )
    if path.is_dir():
        for child in _children(path):
            yield from _walk(child, root, (*above, real))
    elif path.is_file():
        yield path
    else:
        raise ValueError(
            f"{path} must be a file; found a pipe, socket, device or dead link, which is not read."
            " Remove it from the data."
        )


def _open(file: Path) -> Any:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                image.load()
                return image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be a bomb made to"
            " fill the memory. Scale it down, or cut it into tiles."
        ) from error
    # Pillow raises OSError, SyntaxError, ValueError and more, depending on the damage.
    except Exception as error:
        raise ValueError(
            f"{file} is not a readable image of the formats {', '.join(FORMATS)} ({error})."
            " Replace it, or take it out of the data."
        ) from error
