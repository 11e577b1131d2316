from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from surefoot.data import load

X = torch.rand(10, 3, 4, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 3


class Pictures(Dataset):
    """As the image sets of torchvision are: PIL images, whole numbers, `classes`."""

    classes = ("ant", "bee", "cow")

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Pillow.Image, int]:
        return Pillow.new("RGB", self.sizes[index], (index, 0, 0)), index % 3


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X.numpy(), Y.tolist(), strict=True)


class Named(Dataset):
    def __init__(self, key: str) -> None:
        self.key = key

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        return {self.key: X[index], "label": Y[index]}


SOURCES = {
    "dataset": TensorDataset(X, Y),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "stream": Stream(),
    "loader of a stream": DataLoader(Stream(), batch_size=3),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_sets_of_tensors(source):
    data = load(source)
    torch.testing.assert_close(data.images, X, rtol=0, atol=0)
    assert (data.labels.tolist(), data.classes) == (Y.tolist(), ("0", "1", "2"))


@pytest.mark.parametrize("source", [TensorDataset(X), DataLoader(TensorDataset(X))])
def test_labels_are_optional(source):
    assert load(source).labels is None


def test_items_with_names():
    assert torch.equal(load(Named("pixel_values")).images, X[:4])
    with pytest.raises(ValueError, match=r"as one of image, .*; found \['label', 'photo'\]"):
        load(Named("photo"))


def test_pictures_and_their_classes():
    data = load(Pictures((5, 4), (5, 4)))
    assert (data.name, data.classes, data.labels.tolist()) == ("Pictures", Pictures.classes, [0, 1])
    assert data.images[1, 0].unique().tolist() == [1]
    with pytest.raises(ValueError, match=r"Pictures item 1: .*expected 5x4 RGB.*found 6x4"):
        load(Pictures((5, 4), (6, 4)))
    resized = load(Pictures((5, 4), (6, 4)), input_size=(2, 3))
    assert (resized.images.shape, resized.name) == ((2, 3, 2, 3), "Pictures (resized to 2x3)")


def test_series_and_features_of_any_range():
    series = torch.randn(6, 2, 30, generator=torch.Generator().manual_seed(0)) * 9
    assert load(TensorDataset(series, Y[:6]), value_range=None).images.equal(series)
    with pytest.raises(ValueError, match=r"TensorDataset: float .*value_range=\(low, high\)"):
        load(TensorDataset(series, Y[:6]))


class Ragged(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(3 + index // 2), 0


FAULTS = [
    (Ragged(), r"expected \(3,\) as the first, found \(4,\) at 2"),
    (TensorDataset(X, Y, Y), r"\(image, label\); found 3 values"),
    (TensorDataset(X[:0], Y[:0]), "at least one example"),
    (TensorDataset(X, Y / 2), "one integer"),
    ({"train": 0, "test": 1}, r"a dict of \['test', 'train'\].*load\(source\['train'\]\)"),
    ([X, Y], r"found list. Arrays and tensors: Data\(images"),
]


@pytest.mark.parametrize(("source", "message"), FAULTS)
def test_faulty_objects_raise(source, message):
    with pytest.raises(ValueError, match=message):
        load(source)


class Image:
    pass


@dataclass
class ClassLabel:
    names: list[str]


@dataclass
class Value:
    dtype: str


class List:
    pass


class Table:
    """Stands for `datasets.Dataset` in memory."""

    def __init__(self, columns: dict, features: dict) -> None:
        self.columns, self.features, self.column_names = columns, features, list(columns)

    def __iter__(self):
        rows = zip(*self.columns.values(), strict=True)
        return (dict(zip(self.columns, row, strict=True)) for row in rows)

    def __getitem__(self, column: str):
        return self.columns[column]


PICTURES = [Pillow.new("L", (5, 4), value) for value in (7, 9)]


def test_a_table_of_images():
    features = {"image": Image(), "label": ClassLabel(["a", "b"])}
    data = load(Table({"image": PICTURES, "label": [1, 0]}, features))
    assert (data.images[:, 0, 0, 0].tolist(), data.labels.tolist()) == ([7, 9], [1, 0])
    assert data.classes == ("a", "b")
    assert load(Table({"image": PICTURES}, {"image": Image()})).labels is None


def test_a_table_of_numbers():
    rows = [[1.0, -2.0, 3.0], [0.0, 5.0, 6.0]]
    columns = {"features": rows, "label": [1, 0]}
    table = Table(columns, {"features": List(), "label": Value("int64")})
    data = load(table, value_range=None)
    assert (data.images.tolist(), data.labels.tolist()) == (rows, [1, 0])
    rows[1] = rows[1][:2]
    with pytest.raises(ValueError, match="all rows must hold arrays of one shape"):
        load(table, value_range=None)


def test_real_tables_of_datasets():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    table = datasets.Dataset.from_dict({"image": PICTURES, "label": [1, 0]}, features=features)
    data = load(table)
    assert (data.images[:, 0, 0, 0].tolist(), data.classes) == ([7, 9], ("a", "b"))
    numbers = datasets.Dataset.from_dict({"x": np.eye(3).tolist(), "y": [0, 1, 2]})
    assert load(numbers).images.tolist() == np.eye(3).tolist()
    grids = datasets.Features({"x": datasets.Array2D((2, 4), "float32")})
    table = datasets.Dataset.from_dict({"x": np.zeros((3, 2, 4)).tolist()}, features=grids)
    assert load(table).images.shape == (3, 2, 4)
