import os
import re
import struct
import zlib
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


def eps_as_png(folder: Path) -> None:
    (folder / "dog/c.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\nshowpage\n")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "dog/c.png")


def dead_link(folder: Path) -> None:
    (folder / "dog/c.png").symlink_to(folder / "nothing.png")


def dead_class(folder: Path) -> None:
    (folder / "emu").symlink_to(folder / "nothing")


def link_to_a_file_outside(folder: Path) -> None:
    write(folder.parent / "secret.png", pixels(4, 5, 3))
    (folder / "dog/c.png").symlink_to(folder.parent / "secret.png")


def link_to_a_folder_outside(folder: Path) -> None:
    write(folder.parent / "elsewhere/1.png", pixels(4, 5, 3))
    (folder / "emu").symlink_to(folder.parent / "elsewhere")


def circle(folder: Path) -> None:
    (folder / "dog/again").symlink_to(folder)


def whole_numbers_without_range(folder: Path) -> None:
    (folder / "dog/c.pgm").write_bytes(b"P5 5 4 4095\n" + bytes(40))


def bomb(folder: Path) -> None:
    """A header that promises 40,000 x 40,000 pixels, as a small file can hold them."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    ]
    (folder / "dog/c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


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
    (transparent, r"dog.c\.png: images must be grey .*found mode RGBA.*on a background"),
    (palette, r"dog.c\.png: .*found mode P\."),
    (text_as_image, r"dog.c\.png is not a readable image"),
    (truncated_image, r"dog.c\.png is not a readable image"),
    (class_without_images, "must hold the images of class `emu`; found 1 files, none of them"),
    (eps_as_png, r"dog.c\.png is not a readable image of the formats PNG"),
    (pipe, r"dog.c\.png must be a file; found a pipe"),
    (dead_link, r"dog.c\.png must be a file; found a .*dead link"),
    (dead_class, "emu is a link to nothing"),
    (link_to_a_file_outside, r"dog.c\.png is a link to .*secret\.png, which leaves the folder"),
    (link_to_a_folder_outside, "emu is a link to .*elsewhere, which leaves the folder"),
    (circle, "dog.again is a link to .*, which runs in a circle"),
    (whole_numbers_without_range, r"dog.c\.pgm: .*found mode I\..* save all images as one .npz"),
    (bomb, r"dog.c\.png is larger than 89,478,485 pixels"),
    (one_class, r"at least two sub-folders.*found \['cat'\]"),
    (other_size_in_test, r"test.dog.c\.png: all images"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_faulty_folders_raise(spoil, message, tmp_path):
    two_classes(tmp_path / "data", 4, 5, 3)
    spoil(tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "data"))


def test_classes_are_those_of_all_splits(tmp_path):
    for name in ("train/a", "train/b", "train/c", "test/a", "test/c", "val/d"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    train, test = load(tmp_path, "train"), load(tmp_path, "test")
    assert train.classes == test.classes == ("a", "b", "c", "d")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [0, 2])


def test_a_folder_of_splits_alone_is_never_taken_for_classes(tmp_path):
    for name in ("train/a", "train/b", "val/a"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    assert load(tmp_path, "train").classes == ("a", "b")
    with pytest.raises(ValueError, match=r"has the splits \['train', 'val'\]; asked for 'test'"):
        load(tmp_path, "test")


def test_an_empty_folder_keeps_the_place_of_its_class(tmp_path):
    two_classes(tmp_path, 4, 5)
    (tmp_path / "cow").mkdir()
    data = load(tmp_path)
    assert (data.classes, data.labels.tolist()) == (("cat", "cow", "dog"), [0, 0, 2, 2])


def test_images_in_sub_folders_of_a_class_are_read(tmp_path):
    for name in ("a", "b", "a/more", "a/more/still"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    assert load(tmp_path).labels.tolist() == [0, 0, 0, 1]


def test_links_that_stay_within_the_folder_are_read(tmp_path):
    written = two_classes(tmp_path, 4, 5)
    (tmp_path / "dog/c.png").symlink_to(tmp_path / "cat/1.png")
    data = load(tmp_path)
    assert data.labels.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.images[4, 0].numpy(), written["cat/1.png"])


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(kind, tmp_path):
    """From 0 to 65,535, each to the nearest of 256 levels; white stays white."""
    deep = np.array([[0, 128, 129, 300, 20_000, 65_535]], dtype=np.uint16)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(deep).save(tmp_path / name / f"0.{kind}")
    expected = np.round(deep / 257)
    assert expected.tolist() == [[0, 0, 1, 1, 78, 255]]
    np.testing.assert_array_equal(load(tmp_path).images[1, 0].numpy(), expected)


def followed(image: Image.Image, advice: str) -> Image.Image:
    """Do what the message says, and nothing else."""
    space = {"Image": Image, "image": image}
    if "background" in advice:
        exec(re.search(r"PIL: (.*)\.$", advice).group(1), space)
        return space["flat"]
    return eval(re.search(r"PIL: (.*)\.$", advice).group(1), space)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_the_advice_for_a_mode_works(mode, tmp_path):
    kind = "tif" if mode == "CMYK" else "png"
    image = Image.fromarray(np.full((4, 4), 255, np.uint8)).convert("RGB").convert(mode)
    for name in "ab":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / f"0.{kind}")
    with pytest.raises(ValueError, match=f"found mode {mode}") as caught:
        load(tmp_path)
    for name in "ab":
        followed(image, str(caught.value)).save(tmp_path / name / f"0.{kind}")
    assert load(tmp_path).images.unique().tolist() == [255]


def test_empty_folder_raises(tmp_path):
    with pytest.raises(ValueError, match=r"at least two sub-folders.*found \[\]"):
        load(str(tmp_path))


def test_splits_of_any_name(tmp_path):
    for name in ("audit/a", "audit/b", "calibration/a", "calibration/b", "calibration/c"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    assert load(tmp_path, "audit").labels.tolist() == [0, 1]
    assert load(tmp_path, "calibration").classes == load(tmp_path, "audit").classes == tuple("abc")


def test_splits_that_hold_the_same_classes_are_not_taken_for_classes(tmp_path):
    for name in ("audit/a", "audit/b", "more/a", "more/b"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    with pytest.raises(ValueError, match=r"splits \['audit', 'more'\].*\(--split audit\)") as found:
        load(tmp_path)
    assert f"move them into a folder {tmp_path.name}/test" in str(found.value)
    (tmp_path / "test").mkdir()
    for name in ("audit", "more"):
        (tmp_path / name).rename(tmp_path / "test" / name)
    assert load(tmp_path).classes == ("audit", "more")


def test_another_split_beside_train_and_test(tmp_path):
    for name in ("train/a", "train/b", "test/a", "extra/a", "extra/b"):
        write(tmp_path / name / "0.png", pixels(4, 5))
    assert load(tmp_path, "extra").labels.tolist() == [0, 1]


def test_images_without_sub_folders_have_no_labels(tmp_path):
    written = write(tmp_path / "one.png", pixels(4, 5))
    write(tmp_path / "two.png", pixels(4, 5))
    data = load(tmp_path)
    assert (len(data), data.labels, data.classes) == (2, None, ())
    np.testing.assert_array_equal(data.images[0, 0].numpy(), written)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_mixed_sizes_are_resized(shape, tmp_path):
    write(tmp_path / "p/a/0.png", pixels(*shape))
    kept = write(tmp_path / "p/b/0.png", pixels(4, 6, *shape[2:]))
    with pytest.raises(ValueError, match=r"--input-size HEIGHT WIDTH"):
        load(tmp_path / "p")
    data = load(tmp_path / "p", input_size=(4, 6))
    assert data.name == "p (resized to 4x6)"
    assert data.images.shape[2:] == (4, 6)
    planes = kept.transpose(2, 0, 1) if kept.ndim == 3 else kept[None]
    np.testing.assert_array_equal(data.images[1].numpy(), planes)
    flat = np.full((30, 20), 90, dtype=np.uint8)
    write(tmp_path / "p/a/0.png", flat if len(shape) == 2 else np.dstack([flat] * 3))
    assert load(tmp_path / "p", input_size=(4, 6)).images[0].unique().tolist() == [90]


def test_a_size_that_changes_nothing_is_not_told(tmp_path):
    two_classes(tmp_path / "p", 4, 5)
    assert load(tmp_path / "p", input_size=(4, 5)).name == "p"


def test_options_that_do_nothing_raise(tmp_path):
    two_classes(tmp_path / "p", 4, 5)
    with pytest.raises(ValueError, match=r"holds images.*a value range has no effect"):
        load(tmp_path / "p", value_range=None)
    with pytest.raises(ValueError, match="an input size has no effect"):
        load("digits", input_size=(4, 4))
