import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_moons

from surefoot.data import NAMES, load


def test_digits_are_those_of_scikit_learn():
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0)).numpy()
    for split, rows in (("test", order[:500]), ("train", order[500:])):
        data = load("digits", split)
        images, labels = data.batch(slice(None))
        np.testing.assert_array_equal(images.numpy().reshape(-1, 64), x[rows] / 16)
        np.testing.assert_array_equal(labels.numpy(), y[rows])
        assert (data.levels, data.classes) == (16, tuple("0123456789"))
        assert images.shape == (len(rows), 1, 8, 8)


def test_digits_never_change():
    assert load("digits").fingerprint() == "589f60a44f0f5298"
    assert load("digits", "train").fingerprint() == "7e422cc963d3baad"
    assert load("digits").labels[:5].tolist() == [6, 5, 5, 7, 9]


def test_moons_are_scaled_into_the_box():
    for split, count, seed in (("train", 1000, 0), ("test", 500, 1)):
        data = load("moons", split)
        x, y = make_moons(count, noise=0.1, random_state=seed)
        back = (data.images.double().numpy() - 0.5) * 4 + [0.5, 0.25]
        np.testing.assert_allclose(back, x, atol=1e-6)
        np.testing.assert_array_equal(data.labels.numpy(), y)
        assert data.images.dtype == torch.float32
        assert 0 < float(data.images.min()) < float(data.images.max()) < 1
        assert data.fingerprint() == load("moons", split).fingerprint()


def test_upper_moon_is_above():
    data = load("moons")
    height = data.images[:, 1]
    assert data.classes == ("upper", "lower")
    assert height[data.labels == 0].mean() > height[data.labels == 1].mean()


UNKNOWN = {
    "near name": ("fashion_mnist", "Did you mean `fashion-mnist`"),
    "capitals": ("CIFAR10", "Did you mean `cifar10`"),
    "nothing near": (
        "zebra-crossing",
        r"and no such folder\. Names: digits, moons, .*hf:owner/name",
    ),
    "no folder": ("./nowhere/images", "no data set `./nowhere/images`, and no such folder"),
}


@pytest.mark.parametrize(("name", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_names_raise(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("cifar10h", "train", r"`cifar10h` has only the splits \['test'\]; asked for `train`"),
        ("cifar10n", "test", r"`cifar10n` has only the splits \['train'\]"),
        ("cifar100-ood", "train", r"only the splits \['test'\]"),
        ("digits", "validation", r"only the splits \['train', 'test'\]; asked for `validation`"),
        ("some.npz", "valid", r"only the splits \['train', 'test'\]"),
    ],
)
def test_wrong_splits_raise(name, split, message):
    with pytest.raises(ValueError, match=message):
        load(name, split)


def test_every_name_is_documented():
    assert all(name in str(load.__doc__) for name in NAMES)


def test_import_is_light():
    heavy = "{'sklearn', 'PIL', 'datasets', 'pandas', 'matplotlib'}"
    code = f"import sys, surefoot.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
