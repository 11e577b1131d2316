import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

from surefoot.data import fetch, load

RANDOM = np.random.default_rng(0)


class Image:
    pass


class Value:
    pass


@dataclass
class ClassLabel:
    names: list[str]


@dataclass
class Table:
    """Stands for `datasets.Dataset`: features by column; rows, or one column by name."""

    columns: dict
    features: dict

    def __iter__(self):
        keys = list(self.columns)
        return (
            dict(zip(keys, row, strict=True)) for row in zip(*self.columns.values(), strict=True)
        )

    def __getitem__(self, column: str):
        return self.columns[column]


@dataclass
class Hub:
    """Stands for the hub: tables by (repository, split); remembers what was asked."""

    tables: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def load_dataset(self, repository: str, split: str) -> Table:
        self.asked.append((repository, split))
        if (repository, split) not in self.tables:
            raise ValueError(f'Unknown split "{split}"')
        return self.tables[repository, split]


@pytest.fixture
def hub(monkeypatch) -> Hub:
    hub = Hub()
    module = SimpleNamespace(load_dataset=hub.load_dataset, Image=Image, ClassLabel=ClassLabel)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return hub


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def table(
    pixels: np.ndarray, labels: list[int], image: str = "image", label: str = "label"
) -> Table:
    pictures = [Pillow.fromarray(array) for array in pixels]
    columns = {"id": list(range(len(labels))), image: pictures, label: labels}
    names = ["ant", "bee", "cow"]
    return Table(columns, {"id": Value(), image: Image(), label: ClassLabel(names)})


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def test_columns_are_found_by_type(hub):
    x = pixels(3, 4, 5, 3)
    hub.tables["zoo/small", "validation"] = table(x, [2, 0, 1], "img", "animal")
    data = load("hf:zoo/small", "validation")
    np.testing.assert_array_equal(data.images.numpy(), x.transpose(0, 3, 1, 2))
    assert data.labels.tolist() == [2, 0, 1]
    assert (data.name, data.classes) == ("zoo/small", ("ant", "bee", "cow"))
    assert hub.asked == [("zoo/small", "validation")]


def test_label_column_can_be_chosen(hub):
    two = table(pixels(3, 4, 5), [0, 1, 2], label="fine")
    two.columns["coarse"], two.features["coarse"] = [1, 1, 0], ClassLabel(["plant", "animal"])
    hub.tables["zoo/two", "test"] = two
    assert load("hf:zoo/two#coarse").labels.tolist() == [1, 1, 0]
    assert load("hf:zoo/two#fine").labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"found \['fine', 'coarse'\].*hf:owner/name#column"):
        load("hf:zoo/two")
    with pytest.raises(ValueError, match=r"one ClassLabel column.*found \[\]"):
        load("hf:zoo/two#shape")
    two.columns["label"], two.features["label"] = [2, 2, 2], ClassLabel(["a", "b", "c"])
    assert load("hf:zoo/two").labels.tolist() == [2, 2, 2]


def test_sets_without_images_or_labels_raise(hub):
    text = table(pixels(2, 4, 5), [0, 1])
    text.features["image"] = Value()
    hub.tables["zoo/text", "test"] = text
    with pytest.raises(ValueError, match=r"hf:zoo/text must have one Image column"):
        load("hf:zoo/text")
    plain = table(pixels(2, 4, 5), [0, 1])
    plain.features["label"] = Value()
    hub.tables["zoo/plain", "test"] = plain
    with pytest.raises(ValueError, match=r"hf:zoo/plain must have one ClassLabel column"):
        load("hf:zoo/plain")


def test_faulty_rows_raise(hub):
    odd = table(pixels(3, 4, 5), [0, 1, 2])
    odd.columns["image"][1] = Pillow.fromarray(pixels(5, 5))
    hub.tables["zoo/odd", "test"] = odd
    with pytest.raises(
        ValueError, match=r"zoo/odd test row 1: .*expected 5x4 grey.*found 5x5 grey"
    ):
        load("hf:zoo/odd")
    hub.tables["zoo/hidden", "test"] = table(pixels(2, 4, 5), [-1, -1])
    with pytest.raises(ValueError, match=r"found -1.*without a label"):
        load("hf:zoo/hidden")
    hub.tables["zoo/none", "test"] = table(pixels(0, 4, 5), [])
    with pytest.raises(ValueError, match="at least one image"):
        load("hf:zoo/none")


def test_errors_of_the_hub_are_passed_on(hub):
    with pytest.raises(
        ValueError, match=r'cannot read hf:zoo/lost, split `test` \(Unknown split "t'
    ):
        load("hf:zoo/lost")


@pytest.mark.parametrize("read", [lambda: load("hf:zoo/small"), lambda: fetch("mnist")])
def test_missing_extra_is_named(read, monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'surefoot\[hf\]'"):
        read()


SETS = {
    "mnist": ("ylecun/mnist", (28, 28), "image", 1),
    "fashion-mnist": ("zalando-datasets/fashion_mnist", (28, 28), "image", 1),
    "cifar10": ("uoft-cs/cifar10", (32, 32, 3), "img", 5),
    "eurosat": ("timm/eurosat-rgb", (64, 64, 3), "image", 1),
}


@pytest.mark.parametrize("name", SETS)
def test_what_is_fetched_can_be_loaded(name, hub, folder):
    repository, shape, image, parts = SETS[name]
    x, y = pixels(10, *shape), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    hub.tables[repository, "train"] = table(x, y, image)
    hub.tables[repository, "test"] = table(x[:4], y[:4], image)
    written = fetch(name)
    assert sorted(written) == sorted(folder.iterdir())
    assert len(written) == parts + 1
    train = load(name, "train")
    expected = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(train.images.numpy(), expected)
    assert train.labels.tolist() == y
    assert (train.name, train.classes, len(load(name))) == (name, ("ant", "bee", "cow"), 4)
    with np.load(written[0]) as archive:
        assert (archive["x"].shape, archive["x"].dtype) == ((10 // parts, *shape), np.uint8)
        assert archive["y"].dtype == np.uint8


def test_default_folder_is_the_cache(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("SUREFOOT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for split in ("train", "test"):
        hub.tables["ylecun/mnist", split] = table(pixels(3, 28, 28), [0, 1, 2])
    assert {path.parent for path in fetch("mnist")} == {tmp_path / "surefoot"}


def test_complete_splits_are_kept(hub, folder):
    for split in ("train", "test"):
        hub.tables["ylecun/mnist", split] = table(pixels(3, 28, 28), [0, 1, 2])
    train, test = fetch("mnist")
    before = train.read_bytes()
    test.unlink()
    hub.asked.clear()
    fetch("mnist")
    assert hub.asked == [("ylecun/mnist", "test")]
    assert train.read_bytes() == before


def test_nothing_is_left_after_a_failure(hub, folder, monkeypatch):
    hub.tables["uoft-cs/cifar10", "train"] = table(pixels(10, 32, 32, 3), [0, 1] * 5)
    saved = np.savez_compressed
    calls = []

    def full_disk(path, **arrays):
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise OSError("no space left on device")
        saved(path, **arrays)

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="no space left"):
        fetch("cifar10")
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10h", r"not downloaded\. Put this file into .*cifar10h\.npz.*cifar-10h"),
        ("cifar10n", r"cifar10n_train\.npz.*cifar-10-100n"),
        ("cifar100-ood", r"ood_cifar100_test_2000\.npz"),
        ("tiny-imagenet", r"Put this file into .*tiny_imagenet_train\.npz and .*_test\.npz"),
        ("digits", r"`digits` cannot be fetched; the names are \['cifar10', "),
    ],
)
def test_what_cannot_be_fetched_is_named(name, message, folder):
    with pytest.raises(ValueError, match=message):
        fetch(name)
    assert not folder.exists()
