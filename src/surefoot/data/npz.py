"""Read data sets from numpy archives, without ever unpickling anything."""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from surefoot.data import layout
from surefoot.data.dataset import Data
from surefoot.types import ValueRange

Arrays = dict[str, np.ndarray]
KEYS = {"x", "y", "classes", "probabilities", "value_range"}


def load(path: Path, value_range: ValueRange | Literal["stored"] = "stored") -> Data:
    """Read a data set from an .npz archive with `x` and, where wanted, more.

    Args:
        path: archive with `x` (uint8, or float in [0, 1]: (N, H, W), (N, H, W, C), (N, C, H, W) or
            (N, D), with C = 1 or 3; series (N, 1, L), and floats (N, L, D) with L != D, stay as
            they are), and the optional `y` (N,) class indices, `classes` (names), `probabilities`
            (N, classes) and `value_range` (two numbers; -inf, inf: no box).
        value_range: of a float `x`, in place of the stored one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or an array is not as above.
    """
    arrays = read(path, ("x",))
    if "y" not in arrays and (strange := sorted(arrays.keys() - KEYS)):
        raise ValueError(
            f"{path} must hold the arrays ['x', 'y']; found {sorted(arrays)}, without ['y']. Call"
            f" the labels `y`; or, if there are none, leave out {strange}."
        )
    try:
        return build(path.stem, arrays, value_range)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def build(
    name: str, arrays: Arrays, value_range: ValueRange | Literal["stored"] = "stored"
) -> Data:
    """Make a data set of the arrays of one archive."""
    y, probabilities = arrays.get("y"), arrays.get("probabilities")
    classes = arrays.get("classes")
    return Data(
        layout.images_tensor(arrays["x"]),
        None if y is None else layout.labels_tensor(y),
        classes=None if classes is None else layout.names(classes),
        probabilities=None
        if probabilities is None
        else layout.floats("probabilities", probabilities),
        value_range=_stored_range(arrays) if value_range == "stored" else value_range,
        name=name,
    )


def _stored_range(arrays: Arrays) -> ValueRange:
    if "value_range" not in arrays:
        return (0.0, 1.0)
    found = arrays["value_range"]
    if found.shape != (2,) or found.dtype.kind not in "iuf":
        raise ValueError(
            f"`value_range` must hold the lowest and the highest legal value; found {found}. Write"
            " value_range=[low, high]; [-np.inf, np.inf] for features without a box."
        )
    return float(found[0]), float(found[1])


def read(path: Path, needed: tuple[str, ...]) -> Arrays:
    """Read every array of an archive; `needed` names those that must be there."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. Check the path (folder: {path.parent}).")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip archive, or cut short")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        if strange := [key for key, value in arrays.items() if not isinstance(value, np.ndarray)]:
            raise ValueError(f"{strange[0]} is no array")
    # A damaged or foreign file raises whatever the zip, the decompressor or the header parser does.
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable .npz archive of plain arrays ({error})."
            " Write it with np.savez(path, x=images, y=labels); object arrays are never unpickled."
        ) from error
    missing = [key for key in needed if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} must hold the arrays {list(needed)}; found {sorted(arrays)},"
            f" without {missing}."
        )
    return arrays
