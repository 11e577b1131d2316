import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.data import load

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 5, 4), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
Y = np.array([0, 1, 2, 2, 1, 0], dtype=np.uint8)

LAYOUTS = {
    "grey": (GREY, GREY[:, None]),
    "grey, plane last": (GREY[..., None], GREY[:, None]),
    "grey, plane first": (GREY[:, None], GREY[:, None]),
    "RGB, planes last": (RGB, RGB.transpose(0, 3, 1, 2)),
    "RGB, planes first": (RGB.transpose(0, 3, 1, 2), RGB.transpose(0, 3, 1, 2)),
    "one channel": (GREY.reshape(6, 1, 20), GREY.reshape(6, 1, 20)),
    "flat": (GREY.reshape(6, 20), GREY.reshape(6, 20)),
    "Fortran order": (np.asfortranarray(RGB), RGB.transpose(0, 3, 1, 2)),
}


def save(folder: Path, **arrays) -> str:
    np.savez(folder / "set.npz", **arrays)
    return str(folder / "set.npz")


@pytest.mark.parametrize(("x", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(x, expected, tmp_path):
    data = load(save(tmp_path, x=x, y=Y))
    np.testing.assert_array_equal(data.images.numpy(), expected)
    assert data.labels.tolist() == Y.tolist()
    assert (data.name, data.classes, data.levels) == ("set", ("0", "1", "2"), 255)


@pytest.mark.parametrize(("x", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts_of_floats(x, expected, tmp_path):
    """The same as those of bytes, but for three axes that make no square: these are series."""
    if x is GREY:
        expected = GREY
    floats = load(save(tmp_path, x=x / 255, y=Y.astype(np.int32)))
    np.testing.assert_array_equal(floats.images.numpy(), (expected / 255).astype(np.float32))


def test_square_floats_are_grey_images(tmp_path):
    assert load(save(tmp_path, x=GREY[:, :4] / 255, y=Y)).images.shape == (6, 1, 4, 4)


@pytest.mark.parametrize("shape", [(4, 1, 160), (4, 8, 3)])
def test_series_keep_their_shape(shape, tmp_path):
    path = save(tmp_path, x=RANDOM.random(shape), y=[0, 1, 0, 1])
    assert load(path).images.shape == shape


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("column", [False, True])
def test_labels_of_any_integer_type(kind, column, tmp_path):
    y = Y.astype(kind)[:, None] if column else Y.astype(kind)
    assert load(save(tmp_path, x=GREY, y=y)).labels.tolist() == Y.tolist()


def test_class_names_in_bytes_are_decoded(tmp_path):
    names = np.array(["cat", "Kühe", "dog"])
    as_bytes = np.char.encode(names, "utf-8")
    assert load(save(tmp_path, x=GREY, y=Y, classes=as_bytes)).classes == ("cat", "Kühe", "dog")
    path = save(tmp_path, x=GREY, y=Y, classes=np.array([b"a", b"\xff", b"c"]))
    with pytest.raises(ValueError, match=r"set\.npz: class names in bytes must be UTF-8"):
        load(path)


def test_the_advice_for_class_names_as_labels_works(tmp_path):
    names = np.array(list("badbad"))
    with pytest.raises(ValueError, match=r"np\.unique\(names, return_inverse=True\)"):
        load(save(tmp_path, x=GREY, y=names))
    classes, y = np.unique(names, return_inverse=True)
    data = load(save(tmp_path, x=GREY, y=y, classes=classes))
    assert [data.classes[label] for label in data.labels] == names.tolist()


def test_half_precision_is_widened(tmp_path):
    x = np.array([[0.25], [0.5]], dtype=np.float16)
    assert load(save(tmp_path, x=x, y=Y[:2])).images.tolist() == [[0.25], [0.5]]


def test_classes_and_probabilities(tmp_path):
    fractions = np.full((6, 4), 0.25)
    data = load(
        save(tmp_path, x=GREY, y=Y, classes=np.array(list("abcd")), probabilities=fractions)
    )
    assert data.classes == ("a", "b", "c", "d")
    assert data.probabilities is not None
    assert data.probabilities.dtype == torch.float32
    assert data.probabilities.tolist() == fractions.tolist()
    assert len(load(save(tmp_path, x=GREY, y=Y, probabilities=fractions)).classes) == 4


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path, x=GREY, y=Y)
    assert len(load("~/set.npz")) == 6


def test_either_split_is_the_whole_file(tmp_path):
    path = save(tmp_path, x=GREY, y=Y)
    assert load(path, "train").fingerprint() == load(path, "test").fingerprint()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def with_value(value: float) -> np.ndarray:
    x = GREY / 255
    x[3, 2, 1] = value
    return x


ARRAYS = {
    "no y": ({"x": GREY, "labels": Y}, r"must hold the arrays \['x', 'y'\].*without \['y'\]"),
    "no x": ({"images": GREY, "y": Y}, r"found \['images', 'y'\], without \['x'\]"),
    "bomb": ({"x": GREY, "y": np.array([Bomb()] * 6)}, "plain arrays.*never unpickled"),
    "object x": ({"x": np.array([None, "x"]), "y": Y[:2]}, "never unpickled"),
    "object classes": ({"x": GREY, "y": Y, "classes": np.array([None])}, "never unpickled"),
    "one axis": ({"x": GREY[:, 0, 0], "y": Y}, r"\(N, H, W\).*found shape \(6,\)"),
    "five axes": ({"x": RGB[None], "y": Y[:1]}, r"found shape \(1, 6, 5, 4, 3\)"),
    "scalar": ({"x": np.uint8(200), "y": Y}, r"found shape \(\)"),
    "four planes": ({"x": RANDOM.random((6, 5, 4, 4)), "y": Y}, "neither axis fits"),
    "ambiguous": ({"x": RGB[:, :3], "y": Y}, "ambiguous"),
    "int64 x": ({"x": GREY.astype(np.int64), "y": Y}, r"int64.*astype\(np.uint8\)"),
    "bool x": ({"x": GREY > 9, "y": Y}, "uint8, or float.*bool"),
    "text x": ({"x": np.array(["a", "b"]), "y": Y[:2]}, "uint8, or float"),
    "uint8 of 0 and 1": ({"x": GREY // 128, "y": Y}, r"found max 1.*astype\(np.float32\)"),
    "0..255 float": ({"x": GREY.astype(np.float32), "y": Y}, "max 248.*divide by 255"),
    "normalised": ({"x": with_value(-1.5), "y": Y}, "min -1.5.*normalisation inside"),
    "NaN": ({"x": with_value(np.nan), "y": Y}, "min nan"),
    "infinite": ({"x": with_value(np.inf), "y": Y}, "max inf"),
    "too large for float32": ({"x": with_value(1e300), "y": Y}, "max inf"),
    "empty": ({"x": GREY[:0], "y": Y[:0]}, r"at least one image|at least two classes"),
    "float y": ({"x": GREY, "y": Y.astype(float)}, r"one integer.*float64.*labels\.long\(\)"),
    "text y": ({"x": GREY, "y": np.array(list("abcabc"))}, "Class names belong into `classes`"),
    "bool y": ({"x": GREY, "y": Y > 1}, "one integer.*bool"),
    "one-hot y": ({"x": GREY, "y": np.eye(6, dtype=int)}, r"each of 6 images.*\(6, 6\).*argmax"),
    "y of other length": ({"x": GREY, "y": Y[:5]}, r"each of 6 images; found shape \(5,\)"),
    "negative y": ({"x": GREY, "y": Y.astype(int) - 1}, "found -1"),
    "y too large": ({"x": GREY, "y": Y, "classes": np.array(["a", "b"])}, r"\[0, 1\].*found 2"),
    "one class": ({"x": GREY, "y": Y * 0}, "at least two classes"),
    "counts": ({"x": GREY, "y": Y, "probabilities": np.ones((6, 3), int)}, "vote counts"),
    "wrong fractions": ({"x": GREY, "y": Y, "probabilities": np.ones((6, 3))}, "row 0 .*sum 3"),
    "fractions of another set": (
        {"x": GREY, "y": Y, "probabilities": np.full((7, 4), 0.25)},
        r"float32 \[6, 4\].*found shape \(7, 4\)",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), ARRAYS.values(), ids=ARRAYS.keys())
def test_faulty_arrays_raise(arrays, message, tmp_path):
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert "set.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def archive_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=GREY, y=Y)
    return buffer.getvalue()


def array_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, GREY)
    return buffer.getvalue()


def damaged_bytes() -> bytes:
    content = bytearray(archive_bytes())
    content[120:160] = bytes(40)
    return bytes(content)


def foreign_zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", "not an array")
    return buffer.getvalue()


CONTENTS = {
    "text": b"x,y\n1,2\n",
    "nothing": b"",
    "truncated": archive_bytes()[:-100],
    "damaged": damaged_bytes(),
    "single array": array_bytes(),
    "foreign zip": foreign_zip_bytes(),
    "pickle": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_faulty_files_raise(content, tmp_path):
    path = tmp_path / "faulty.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"faulty\.npz (is not a readable|must hold)") as caught:
        load(str(path))
    assert "allow_pickle" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing\.npz"):
        load(str(tmp_path / "nothing.npz"))
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*folder\.npz"):
        load(str(tmp_path / "folder.npz"))


def test_labels_are_optional(tmp_path):
    data = load(save(tmp_path, x=GREY))
    assert (len(data), data.labels, data.classes) == (6, None, ())


def test_value_range(tmp_path):
    features = RANDOM.normal(size=(6, 3)) * 50
    path = save(tmp_path, x=features, y=Y, value_range=[-np.inf, np.inf])
    assert load(path).box == (-np.inf, np.inf)
    np.testing.assert_array_equal(load(path).images.numpy(), features.astype(np.float32))
    assert load(path, value_range=(-1000, 1000)).box == (-1000, 1000)
    for wrong in ([1], [3, 2], ["a", "b"]):
        with pytest.raises(ValueError, match=r"set\.npz: `value_range` must"):
            load(save(tmp_path, x=features, y=Y, value_range=wrong))
