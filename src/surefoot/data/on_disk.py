"""Images that stay on disk: memory-mapped .npy files, of which only the rows asked for are read."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from surefoot.data import layout

MOST_HASHED = 2**30
"""Bytes of images; more are not read only to be hashed."""


class OnDisk:
    """Rows of one or several .npy files, in their order, read when they are asked for.

    Has what `Data` uses of a tensor: `shape`, `dtype`, `device`, `ndim`, `len`, and an index that
    reads rows.

    Args:
        paths: of the files.
        rows: numbers of the rows that are meant, in this order; None: all.
    """

    device = torch.device("cpu")

    def __init__(self, paths: tuple[Path, ...], rows: Tensor | None = None) -> None:
        self.paths, self.arrays = paths, [_mapped(path) for path in paths]
        first = self.arrays[0]
        for path, array in zip(paths, self.arrays, strict=True):
            if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"{path}: all files must hold rows of one shape and type; expected"
                    f" {first.shape[1:]}, {first.dtype} as in {paths[0].name}, found"
                    f" {array.shape[1:]}, {array.dtype}. Save it like the first one."
                )
        layout.check_dtype(first)
        self.ends = torch.tensor([len(array) for array in self.arrays]).cumsum(0)
        self.rows = torch.arange(int(self.ends[-1])) if rows is None else rows
        example = layout.arranged(np.zeros((1, *first.shape[1:]), first.dtype))
        self.shape = torch.Size((len(self.rows), *example.shape[1:]))
        self.dtype, self.ndim = example.dtype, example.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Read some rows."""
        rows = self.rows[index]
        files = torch.bucketize(rows, self.ends, right=True)
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends])
        found = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for file in files.unique().tolist():
            here = files == file
            read = self.arrays[file][(rows[here] - starts[file]).numpy()]
            found[here] = layout.arranged(read)
        return found

    def numel(self) -> int:
        """Return the number of values in all rows."""
        return self.shape.numel()

    def take(self, index: slice | Tensor) -> "OnDisk":
        """Return only these rows; nothing is read."""
        return OnDisk(self.paths, self.rows[index])

    @property
    def is_large(self) -> bool:
        """Return whether the rows are too large to be read only to be hashed."""
        return self.numel() * self.dtype.itemsize > MOST_HASHED

    def identity(self) -> bytes:
        """Hash header, size and last change of the files, and the numbers of the rows."""
        files = [(path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        headers = [(array.shape, str(array.dtype)) for array in self.arrays]
        text = json.dumps([files, headers]).encode()
        return hashlib.blake2b(text + self.rows.numpy().tobytes(), digest_size=16).digest()


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    # A foreign or damaged file raises whatever the parser of the header does.
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .npy file of plain numbers ({error}). Write it with"
            " np.save(path, images); object arrays are never unpickled."
        ) from error
    if array.ndim < 2 or len(array) == 0:
        raise ValueError(
            f"{path} must hold one row an image, at least one; found shape {array.shape}."
            " One image needs images[None]."
        )
    return array
