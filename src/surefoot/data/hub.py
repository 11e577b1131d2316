"""Read an image data set of the Hugging Face hub through `datasets` (extra `hf`)."""

import importlib
from typing import Any

import torch

from surefoot.data.dataset import Data
from surefoot.data.folder import stack

COLUMN = "hf:owner/name#column"


def load(name: str, split: str) -> Data:
    """Read one split of a data set of the hub; this may use the network.

    The columns are found by their types, Image and ClassLabel. Where several columns hold labels,
    the one called `label` is taken, or the one named behind `#`.

    Args:
        name: `owner/name` or `owner/name#column`.
        split: as the data set calls it: "train", "test", "validation" ...

    Raises:
        ImportError: the extra `hf` is not installed.
        ValueError: the set cannot be read, or is not a set of labelled images of one size.
    """
    repository, _, wanted = name.partition("#")
    table, datasets = _table(repository, split)
    image = _choose(repository, "Image", _columns(table, datasets.Image), "image")
    labelled = [column for column in _columns(table, datasets.ClassLabel) if wanted in ("", column)]
    label = _choose(repository, "ClassLabel", labelled, "label")
    rows = ((f"{repository} {split} row {number}", row[image]) for number, row in enumerate(table))
    labels = torch.tensor(list(table[label]), dtype=torch.int64)
    return Data(repository, stack(rows), labels, tuple(table.features[label].names))


def _table(repository: str, split: str) -> tuple[Any, Any]:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise ImportError(
            f"reading {repository} from the Hugging Face hub needs the package `datasets`."
            " Install it with: pip install 'surefoot[hf]'"
        ) from error
    try:
        return datasets.load_dataset(repository, split=split), datasets
    # No network, no such set, no such split, a gated set: `datasets` has no common error class.
    except Exception as error:
        raise ValueError(f"cannot read hf:{repository}, split `{split}` ({error}).") from error


def _columns(table: Any, kind: type) -> list[str]:
    return [column for column, feature in table.features.items() if isinstance(feature, kind)]


def _choose(repository: str, kind: str, found: list[str], preferred: str) -> str:
    if preferred in found:
        return preferred
    if len(found) != 1:
        raise ValueError(
            f"hf:{repository} must have one {kind} column, or one called `{preferred}`; found"
            f" {found}. Choose a label column with {COLUMN}, or save `x` and `y` as .npz."
        )
    return found[0]
