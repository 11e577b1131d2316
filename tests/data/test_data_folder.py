from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surefoot.data import load

RANDOM = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def write(file: Path, array: np.ndarray) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)
    return array


def two_classes(folder: Path, *shape: int) -> dict[str, np.ndarray]:
    names = ("dog/b.png", "cat/2.png", "cat/1.png", "dog/a.bmp")
    return {name: write(folder / name, pixels(*shape)) for name in names}


def test_colour_folder(tmp_path):
    written = two_classes(tmp_path / "pets", 4, 5, 3)
    (tmp_path / "pets/cat/notes.txt").write_text("not an image")
    (tmp_path / "pets/cat/.hidden.png").write_text("not an image")
    (tmp_path / "pets/.cache").mkdir()
    (tmp_path / "pets/readme.md").write_text("about")
    data = load(str(tmp_path / "pets"))
    assert (data.name, data.classes, data.labels.tolist()) == ("pets", ("cat", "dog"), [0, 0, 1, 1])
    order = ("cat/1.png", "cat/2.png", "dog/a.bmp", "dog/b.png")
    expected = np.stack([written[name].transpose(2, 0, 1) for name in order])
    np.testing.assert_array_equal(data.images.numpy(), expected)


def test_grey_folder(tmp_path):
    written = two_classes(tmp_path, 4, 5)
    data = load(str(tmp_path))
    assert data.images.shape == (4, 1, 4, 5)
    np.testing.assert_array_equal(data.images[0, 0].numpy(), written["cat/1.png"])


def test_jpeg_folder(tmp_path):
    for name in ("a/0.JPG", "b/0.jpeg"):
        write(tmp_path / name, np.full((8, 8, 3), 200, dtype=np.uint8))
    images = load(str(tmp_path)).images
    assert images.shape == (2, 3, 8, 8)
    assert abs(images.float() - 200).max() <= 2


def test_train_and_test_folders(tmp_path):
    two_classes(tmp_path / "train", 4, 5)
    write(tmp_path / "test/cat/1.png", pixels(4, 5))
    write(tmp_path / "test/dog/1.png", pixels(4, 5))
    assert (len(load(str(tmp_path), "train")), len(load(str(tmp_path)))) == (4, 2)
    assert load(str(tmp_path)).name == tmp_path.name


def test_train_alone_may_be_a_class(tmp_path):
    write(tmp_path / "car/1.png", pixels(4, 5))
    write(tmp_path / "train/1.png", pixels(4, 5))
    assert load(str(tmp_path)).classes == ("car", "train")


def other_size(folder: Path) -> None:
    write(folder / "dog/c.png", pixels(5, 4, 3))


def grey_among_colour(folder: Path) -> None:
    write(folder / "dog/c.png", pixels(4, 5))


def transparent(folder: Path) -> None:
    write(folder / "dog/c.png", pixels(4, 5, 4))


def palette(folder: Path) -> None:
    Image.fromarray(pixels(4, 5, 3)).convert("P").save(folder / "dog/c.png")


def text_as_image(folder: Path) -> None:
    (folder / "dog/c.png").write_text("not an image")


def truncated_image(folder: Path) -> None:
    content = (folder / "dog/b.png").read_bytes()
    (folder / "dog/c.png").write_bytes(content[: len(content) // 2])


def class_without_images(folder: Path) -> None:
    (folder / "emu").mkdir()
    (folder / "emu/notes.txt").write_text("soon")


def nested(folder: Path) -> None:
    write(folder / "emu/young/1.png", pixels(4, 5, 3))


def one_class(folder: Path) -> None:
    for name in ("a.bmp", "b.png"):
        (folder / "dog" / name).unlink()
    (folder / "dog").rmdir()


def other_size_in_test(folder: Path) -> None:
    two_classes(folder / "train", 4, 5, 3)
    two_classes(folder / "test", 4, 5, 3)
    write(folder / "test/dog/c.png", pixels(4, 4, 3))


FAULTS = [
    (other_size, r"dog.c\.png: all images .* expected 5x4 RGB .* found 4x5 RGB"),
    (grey_among_colour, r"dog.c\.png: .* expected 5x4 RGB .* found 5x4 grey"),
    (transparent, r"dog.c\.png: images must be grey .*found mode RGBA.*convert"),
    (palette, r"dog.c\.png: .*found mode P\."),
    (text_as_image, r"dog.c\.png is not a readable image"),
    (truncated_image, r"dog.c\.png is not a readable image"),
    (class_without_images, "must hold the images of class `emu`; found none"),
    (nested, "must hold the images of class `emu`; found none"),
    (one_class, r"at least two sub-folders.*found \['cat'\]"),
    (other_size_in_test, r"test.dog.c\.png: all images"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_faulty_folders_are_refused(spoil, message, tmp_path):
    two_classes(tmp_path, 4, 5, 3)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path))


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least two sub-folders.*found \[\]"):
        load(str(tmp_path))
