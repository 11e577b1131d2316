"""Read features from a CSV file: one row an example, one column the label."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.data.dataset import Data
from surefoot.types import ValueRange

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("label", "y", "class", "target")
"""Names of the label column that need not be told."""


def load(path: Path, column: str = "", value_range: ValueRange = None) -> Data:
    """Read numeric features and labels; there is no box unless a value range is given.

    Labels are class indices, or names: then the classes are the names in sorted order.

    Args:
        path: a CSV file with a header.
        column: of the labels; "": `label`, `y`, `class` or `target`. "-": there are no labels.
        value_range: of the features.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no label column, text or empty cells among the features, or no table.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. Check the path (folder: {path.parent}).")
    try:
        table = pd.read_csv(path)
    # pandas raises its own errors, UnicodeDecodeError and more, depending on the damage.
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable CSV file ({error}). Expected a header, commas between the"
            " cells, UTF-8."
        ) from error
    if all(_is_number(name) for name in table.columns):
        raise ValueError(
            f"{path} has numbers where names of columns are expected, {table.columns[0]}. Give"
            " the file a first line with a name for each column; else its first row would be lost"
        )
    label = None if column == "-" else _label_column(path, table, column)
    features = table.drop(columns=[] if label is None else [label])
    _check_features(path, features)
    labels, classes = (None, None) if label is None else _labels(path, table[label])
    x = features.to_numpy(np.float32)
    try:
        return Data(x, labels, classes=classes, value_range=value_range, name=path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _label_column(path: Path, table: "pd.DataFrame", column: str) -> str:
    found = [name for name in ((column,) if column else LABELS) if name in table.columns]
    if len(found) != 1:
        wanted = f"a column `{column}`" if column else f"one label column ({', '.join(LABELS)})"
        raise ValueError(
            f"{path} must have {wanted}; found {found or 'none'} among {list(table.columns)[:20]}."
            f" Name it behind #: --data {path}#COLUMN; if there are no labels, {path}#-."
        )
    return found[0]


def _check_features(path: Path, features: "pd.DataFrame") -> None:
    from pandas.api.types import is_numeric_dtype

    if features.empty:
        raise ValueError(f"{path} must hold rows of features beside the label; found none.")
    for name, values in features.items():
        if not is_numeric_dtype(values):
            number = int(np.flatnonzero(_to_numbers(values).isna() & values.notna())[0])
            raise ValueError(
                f"{path}: column `{name}` must be numeric; row {number + 1} holds"
                f" {values.iloc[number]!r}. Encode or drop it: pandas.get_dummies(table,"
                f" columns=['{name}']), or table.drop(columns='{name}')."
            )
        if values.isna().any():
            number = int(np.flatnonzero(values.isna())[0])
            raise ValueError(
                f"{path}: column `{name}` has {int(values.isna().sum())} empty cells, the first in"
                f" row {number + 1}. Fill or drop them: table.dropna(), or table.fillna(...)."
            )


def _to_numbers(values: "pd.Series") -> "pd.Series":
    import pandas as pd

    return pd.to_numeric(values, errors="coerce")


def _labels(path: Path, values: "pd.Series") -> tuple[np.ndarray, list[str] | None]:
    """Return class indices, and the names of the classes where the labels are names."""
    if values.isna().any():
        number = int(np.flatnonzero(values.isna())[0])
        raise ValueError(
            f"{path}: the label of row {number + 1} is empty. Drop such rows:"
            f" table.dropna(subset=['{values.name}'])."
        )
    if values.dtype.kind in "iu":
        return values.to_numpy(np.int64), None
    if values.dtype.kind == "f":
        raise ValueError(
            f"{path}: labels must be class indices or names; column `{values.name}` holds"
            f" fractional numbers ({values.iloc[0]}). Is it the target of a regression? Whole"
            f" numbers convert with table['{values.name}'].astype(int)."
        )
    classes, labels = np.unique(values.astype(str).to_numpy(str), return_inverse=True)
    return labels, [str(name) for name in classes]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
