import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.data import Data, load, on_disk

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three files of rows, and labels of all."""
    for number, part in enumerate(np.split(PIXELS, [5, 6])):
        np.save(tmp_path / f"part{number}.npy", part)
    np.save(tmp_path / "labels.npy", LABELS)
    return tmp_path


def in_memory() -> Data:
    return Data(PIXELS, LABELS)


def test_files_of_a_folder_are_one_set(folder):
    data = load(folder)
    assert (len(data), data.images.shape, data.classes) == (12, (12, 3, 4, 5), ("0", "1", "2"))
    for index in (slice(None), slice(3, 8), torch.tensor([11, 0, 5, 5]), data.labels == 1):
        ours, labels = data.batch(index)
        expected, known = in_memory().batch(index)
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)
        assert labels.tolist() == known.tolist()


def test_one_file_with_its_labels_and_class_names(tmp_path):
    np.save(tmp_path / "cats.npy", PIXELS / 255)
    np.save(tmp_path / "cats-labels.npy", LABELS)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    data = load(tmp_path / "cats.npy")
    assert (data.name, data.classes) == ("cats", ("ant", "bee", "cow"))
    expected = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2) / 255).float()
    assert torch.equal(data.inputs(slice(None)), expected)


def test_labels_are_optional(tmp_path):
    np.save(tmp_path / "images.npy", PIXELS)
    data = load(tmp_path / "images.npy")
    assert (data.labels, data.classes) == (None, ())


def test_splits_are_folders(tmp_path):
    for split, count in (("train", 8), ("audit", 4)):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "images.npy", PIXELS[:count])
    assert (len(load(tmp_path, "train")), len(load(tmp_path, "audit"))) == (8, 4)


def test_parts_are_those_of_the_set_in_memory(folder):
    ours, others = load(folder).split(4, seed=3)
    expected, rest = in_memory().split(4, seed=3)
    assert isinstance(others.images, on_disk.OnDisk)
    assert torch.equal(ours.inputs(slice(None)), expected.inputs(slice(None)))
    assert torch.equal(others.first(2).inputs(slice(None)), rest.first(2).inputs(slice(None)))


def test_rows_have_the_fingerprint_of_the_same_rows_in_memory(folder):
    assert load(folder).fingerprint() == in_memory().fingerprint()
    few = torch.tensor([7, 2, 9])
    assert load(folder).take(few).fingerprint() == in_memory().take(few).fingerprint()


def test_large_sets_are_told_by_size_change_and_rows(folder, monkeypatch):
    monkeypatch.setattr(on_disk, "MOST_HASHED", 100)
    data = load(folder)
    assert data.is_large
    assert not data.first(1).is_large
    found = {
        data.fingerprint(),
        data.first(5).fingerprint(),
        replace(data, labels=1 - LABELS % 2).fingerprint(),
    }
    assert len(found) == 3
    before = data.fingerprint()
    assert load(folder).fingerprint() == before
    os.utime(folder / "part1.npy", ns=(1, 1))
    assert load(folder).fingerprint() != before


def test_values_are_checked_when_they_are_read(tmp_path):
    x = RANDOM.random((6, 3))
    x[4, 1] = 1.5
    np.save(tmp_path / "images.npy", x)
    data = load(tmp_path / "images.npy")
    data.inputs(slice(0, 4))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; found min .* max 1\.5"):
        data.inputs(slice(3, 6))
    assert load(tmp_path / "images.npy", value_range=(0, 2)).inputs(slice(None)).max() == 1.5


FAULTS = {
    "text": ({"images": np.array([["a"]])}, r"`x` must be uint8, or float.*<U1"),
    "objects": ({"images": np.array([[None]])}, "not a readable .npy file.*never unpickled"),
    "one axis": ({"images": np.zeros(3)}, r"one row an image.*found shape \(3,\)"),
    "empty": ({"images": np.zeros((0, 3))}, "at least one"),
    "few labels": ({"images": PIXELS, "labels": LABELS[:5]}, r"each of 12 images; found shape \(5"),
    "names": ({"images": PIXELS, "labels": np.array(["a"] * 12)}, "one class index an image"),
    "shapes": ({"images": PIXELS, "more": PIXELS[:, :2]}, r"more.npy: all files must .* found \(2"),
}


@pytest.mark.parametrize(("files", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_faulty_files_raise(files, message, tmp_path):
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*lost\.npy"):
        load(tmp_path / "lost.npy")


def test_twenty_gigabytes_need_no_memory(tmp_path):
    """A sparse file: 200 rows are drawn, hashed and evaluated as if there were no others."""
    count = 20 * 10**9 // (3 * 32 * 32)
    path = tmp_path / "images.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 3, 32, 32))
    assert path.stat().st_size > 19.9e9
    assert path.stat().st_blocks * 512 < 2**20
    script = """
import resource, sys
import torch
from surefoot import Threat, Local, bracket, load
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 3))
before = peak()
data = load(sys.argv[1])
data.fingerprint()
few, others = data.split(200, seed=0)
record = bracket(net, few, guarantee=Local(), threat=Threat("linf", 0.01), attack=False)
assert len(record.rows) == 200 and len(others) == len(data) - 200
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 500  # MiB; the numbers of six million rows are 50 each time
