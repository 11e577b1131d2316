import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from surefoot.data import data_folder, load

OFFICIAL = Path(os.environ.get("SUREFOOT_DATA", "nowhere"))
needs_files = pytest.mark.skipif(
    not (OFFICIAL / "mnist_test.npz").is_file(), reason="SUREFOOT_DATA holds no data sets"
)
CLASSES = np.array(["ant", "bee"])
Y = np.array([0, 1, 1, 0], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path))
    return tmp_path


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_cifar10(folder: Path) -> dict[str, np.ndarray]:
    files = ["cifar10_test", *(f"cifar10_train_{part}of5" for part in range(1, 6))]
    written = {file: pixels(seed, 4, 3, 3, 3)[:, :, :2] for seed, file in enumerate(files)}
    written = {file: np.repeat(x, 2, axis=1) for file, x in written.items()}
    for file, x in written.items():
        np.savez(folder / f"{file}.npz", x=x, y=Y, classes=CLASSES)
    return written


def test_train_parts_are_joined_in_order(folder):
    written = write_cifar10(folder)
    data = load("cifar10", "train")
    parts = [written[f"cifar10_train_{part}of5"] for part in range(1, 6)]
    np.testing.assert_array_equal(data.images.numpy(), np.concatenate(parts).transpose(0, 3, 1, 2))
    assert data.labels.tolist() == [0, 1, 1, 0] * 5
    assert (data.name, data.classes) == ("cifar10", ("ant", "bee"))


def test_votes_become_fractions(folder):
    write_cifar10(folder)
    # Sums above 255 would wrap round in uint8.
    counts = np.array([[200, 100], [0, 50], [1, 3], [255, 0]], dtype=np.uint8)
    np.savez(folder / "cifar10h.npz", counts=counts)
    data = load("cifar10h")
    assert data.probabilities is not None
    expected = np.array([[2 / 3, 1 / 3], [0, 1], [0.25, 0.75], [1, 0]])
    np.testing.assert_allclose(data.probabilities.numpy(), expected, rtol=1e-6)
    assert data.labels.tolist() == Y.tolist()


def test_annotators_become_fractions(folder):
    write_cifar10(folder)
    clean = np.tile(Y, 5)
    wrong = clean.copy()
    wrong[0] = 1
    np.savez(folder / "cifar10n_train.npz", random1=clean, random2=wrong, random3=clean)
    data = load("cifar10n", "train")
    assert data.probabilities is not None
    np.testing.assert_allclose(data.probabilities[0].numpy(), [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_array_equal(data.probabilities[1:].argmax(1).numpy(), clean[1:])
    assert data.labels.tolist() == clean.tolist()


def shuffled_votes(folder: Path) -> None:
    np.savez(folder / "cifar10h.npz", counts=np.eye(2, dtype=np.uint8)[1 - Y])


def short_votes(folder: Path) -> None:
    np.savez(folder / "cifar10h.npz", counts=np.eye(2, dtype=np.uint8))


def no_votes(folder: Path) -> None:
    np.savez(folder / "cifar10h.npz", votes=np.eye(2, dtype=np.uint8))


def unvoted_row(folder: Path) -> None:
    counts = np.eye(2, dtype=np.uint8)[Y]
    counts[3] = 0
    np.savez(folder / "cifar10h.npz", counts=counts)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shuffled_votes, "agree with the labels on 0% of the rows.*not in the same order"),
        (short_votes, r"votes of shape \(4, 2\).*found \(2, 2\)"),
        (no_votes, r"must hold the arrays \['counts'\]; found \['votes'\]"),
        (unvoted_row, "row 3 got no vote"),
    ],
)
def test_votes_of_other_images_raise(spoil, message, folder):
    write_cifar10(folder)
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        load("cifar10h")


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        ("mnist", "test", "mnist_test.npz"),
        ("fashion-mnist", "train", "fashion_mnist_train.npz"),
        ("cifar10", "train", "cifar10_train_1of5.npz"),
        ("cifar10h", "test", "cifar10_test.npz"),
        ("cifar10n", "train", "cifar10_train_1of5.npz"),
        ("cifar100-ood", "test", "ood_cifar100_test_2000.npz"),
        ("cifar100", "test", "cifar100_test.npz"),
        ("eurosat", "train", "eurosat_train.npz"),
        ("tiny-imagenet", "test", "tiny_imagenet_test.npz"),
    ],
)
def test_missing_files_are_named(name, split, file, folder):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, split)
    message = str(caught.value)
    assert file in message
    assert str(folder) in message
    fetched = "cifar10" if file.startswith("cifar10_") else name
    assert message.endswith(f"surefoot data fetch {fetched}")


def test_missing_part_and_votes_are_named(folder):
    write_cifar10(folder)
    with pytest.raises(FileNotFoundError, match=r"cifar10h\.npz.*surefoot data fetch cifar10h$"):
        load("cifar10h")
    (folder / "cifar10_train_4of5.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar10_train_4of5\.npz"):
        load("cifar10", "train")


def test_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SUREFOOT_DATA", "~/sets")
    assert data_folder() == tmp_path / "home/sets"
    monkeypatch.setenv("SUREFOOT_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "cache/surefoot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == tmp_path / "home/.cache/surefoot"
    with pytest.raises(FileNotFoundError, match="SUREFOOT_DATA is not set"):
        load("mnist")


SETS = {
    "mnist test": (10_000, (1, 28, 28), [7, 2, 1, 0, 4], "6d87418db22cc802"),
    "mnist train": (60_000, (1, 28, 28), [5, 0, 4, 1, 9], None),
    "fashion-mnist test": (10_000, (1, 28, 28), [9, 2, 1, 1, 6], "c867c93ff9536059"),
    "fashion-mnist train": (60_000, (1, 28, 28), [9, 0, 0, 3, 0], None),
    "cifar10 test": (10_000, (3, 32, 32), [3, 8, 8, 0, 6], "f9b1e2130bab680d"),
}


@pytest.mark.data
@needs_files
@pytest.mark.parametrize("which", SETS)
def test_official_sets(which):
    count, shape, first, digest = SETS[which]
    name, split = which.split()
    data = load(name, split)
    assert (len(data), data.images.shape[1:], len(data.classes)) == (count, shape, 10)
    assert data.labels[:5].tolist() == first
    assert data.labels.bincount(minlength=10).min() >= 0.08 * count
    # (N, H, W) and (N, H, W, C) in the file; the published hash is of those bytes.
    raw = data.images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    assert digest is None or hashlib.sha256(raw).hexdigest()[:16] == digest


@pytest.mark.data
@needs_files
def test_official_cifar10_train_and_its_annotators():
    data = load("cifar10n", "train")
    assert data.images.shape == (50_000, 3, 32, 32)
    with np.load(OFFICIAL / "cifar10_train_3of5.npz") as archive:
        np.testing.assert_array_equal(data.labels[20_000:30_000].numpy(), archive["y"])
        raw = archive["x"][:100].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(data.images[20_000:20_100].numpy(), raw)
    with np.load(OFFICIAL / "cifar10n_train.npz") as archive:
        np.testing.assert_array_equal(data.labels.numpy(), archive["clean"])
        votes = np.stack([archive[f"random{number}"] for number in (1, 2, 3)])
    assert data.probabilities is not None
    fraction = (votes == data.labels.numpy()).mean(0)
    right = data.probabilities.gather(1, data.labels[:, None])[:, 0]
    np.testing.assert_allclose(right.numpy(), fraction, atol=1e-6)


@pytest.mark.data
@needs_files
def test_official_cifar10h():
    data = load("cifar10h")
    with np.load(OFFICIAL / "cifar10h.npz") as archive:
        counts = archive["counts"].astype(float)
    assert data.probabilities is not None
    expected = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(data.probabilities.numpy(), expected, atol=1e-6)
    # Peterson et al. 2019: the most frequent answer is the label on 99.2 % of the images.
    agreement = (data.probabilities.argmax(1) == data.labels).float().mean()
    assert 0.99 < agreement < 0.995


@pytest.mark.data
@needs_files
def test_official_cifar100_sample():
    data = load("cifar100-ood")
    assert data.images.shape == (2_000, 3, 32, 32)
    assert data.labels.bincount().tolist() == [20] * 100
    assert (data.classes[0], data.classes[99]) == ("apple", "worm")


def test_a_sample_is_read_where_the_whole_set_is_missing(folder):
    part = pixels(0, 4, 2, 2, 3)
    np.savez(folder / "cifar100_test_5000.npz", x=part, y=Y, classes=CLASSES)
    np.testing.assert_array_equal(load("cifar100").images.numpy(), part.transpose(0, 3, 1, 2))
    whole = pixels(1, 4, 2, 2, 3)
    np.savez(folder / "cifar100_test.npz", x=whole, y=Y, classes=CLASSES)
    np.testing.assert_array_equal(load("cifar100").images.numpy(), whole.transpose(0, 3, 1, 2))
