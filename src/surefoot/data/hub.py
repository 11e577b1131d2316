"""Read Hugging Face data sets: of the hub through `datasets` (extra `hf`), or tables in memory."""

import importlib
from typing import Any

import numpy as np

from surefoot.data import folder, layout
from surefoot.data.dataset import Data
from surefoot.data.folder import Size, stack
from surefoot.types import ValueRange

COLUMN = "hf:owner/name#column"
IMAGES = ("image", "images", "pixel_values", "x", "features")
LABELS = ("label", "labels", "y")
ARRAYS = ("Array2D", "Array3D", "Sequence", "List", "LargeList")


def load(name: str, split: str, size: Size | None = None) -> Data:
    """Read one split of a data set of the hub; this may use the network.

    The columns are found by their types, Image and ClassLabel. Where several columns hold labels,
    the one called `label` is taken, or the one named behind `#`.

    Args:
        name: `owner/name` or `owner/name#column`.
        split: as the data set calls it: "train", "test", "validation" ...
        size: height and width that images are resized to.

    Raises:
        ImportError: the extra `hf` is not installed.
        ValueError: the set cannot be read, or is not a set of images of one size.
    """
    repository, _, wanted = name.partition("#")
    table = _table(repository, split)
    return read(table, repository, where=f"{repository} {split}", wanted=wanted, size=size)


def is_table(source: Any) -> bool:
    """Return whether this is a data set of `datasets`, by what it has: that is not imported."""
    return hasattr(source, "features") and hasattr(source, "column_names")


def read(
    table: Any,
    name: str,
    *,
    where: str = "",
    wanted: str = "",
    size: Size | None = None,
    value_range: ValueRange = (0.0, 1.0),
) -> Data:
    """Read a table: a column of images or arrays, and one of labels, where there is one.

    Args:
        table: a `datasets.Dataset`, or what looks like one.
        name: how records call the data.
        where: names the table in messages.
        wanted: the label column; "" finds it.
        size: height and width that images are resized to.
        value_range: of columns that hold arrays.

    Raises:
        ValueError: no such columns, or rows that do not fit together.
    """
    images, arrays = _columns(table, ("Image",)), _columns(table, ARRAYS)
    named = [column for column in IMAGES if column in arrays]
    image = _choose(name, "Image", images or named, "image")
    label = _label_column(table, name, wanted)
    if images:
        rows = ((f"{where or name} row {number}", row[image]) for number, row in enumerate(table))
        x, size_text = stack(rows, size)
    else:
        folder.check_no_size(name, size)
        x, size_text = layout.images_tensor(_stacked(name, [row[image] for row in table])), ""
    labels = None if label is None else np.asarray(list(table[label]), dtype=np.int64)
    classes = None if label is None else getattr(table.features[label], "names", None)
    return Data(x, labels, classes=classes, value_range=value_range, name=name + size_text)


def _stacked(name: str, rows: list[Any]) -> np.ndarray:
    try:
        return np.stack([np.asarray(row) for row in rows])
    except ValueError as error:
        raise ValueError(
            f"{name}: all rows must hold arrays of one shape ({error}). Cut or pad them with"
            " table.map(...)."
        ) from error


def _table(repository: str, split: str) -> Any:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise ImportError(
            f"reading {repository} from the Hugging Face hub needs the package `datasets`."
            " Install it with: pip install 'surefoot[hf]'"
        ) from error
    try:
        return datasets.load_dataset(repository, split=split)
    # No network, no such set, no such split, a gated set: `datasets` has no common error class.
    except Exception as error:
        raise ValueError(f"cannot read hf:{repository}, split `{split}` ({error}).") from error


def _columns(table: Any, kinds: tuple[str, ...]) -> list[str]:
    return [name for name, feature in table.features.items() if type(feature).__name__ in kinds]


def _label_column(table: Any, name: str, wanted: str) -> str | None:
    """Find the labels: ClassLabel, or whole numbers called so; None: no column looks like them."""
    found = _columns(table, ("ClassLabel",))
    whole = [
        column
        for column in _columns(table, ("Value",))
        if str(getattr(table.features[column], "dtype", "")).startswith(("int", "uint"))
        and (column == wanted or (not found and column in LABELS))
    ]
    found = [column for column in found + whole if wanted in ("", column)]
    if not found and not wanted and not any(column in LABELS for column in table.features):
        return None
    return _choose(name, "ClassLabel", found, "label")


def _choose(name: str, kind: str, found: list[str], preferred: str) -> str:
    if preferred in found:
        return preferred
    if len(found) != 1:
        raise ValueError(
            f"hf:{name} must have one {kind} column, or one called `{preferred}`; found"
            f" {found}. Choose a label column with {COLUMN}, or save `x` and `y` as .npz."
        )
    return found[0]
