import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from surefoot.data import Data

IMAGES = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 2, 1])
CLASSES = ("a", "b", "c")
PROBABILITIES = torch.tensor([[1, 0, 0], [0.25, 0.75, 0], [0, 0.5, 0.5], [0, 1, 0]])


def make(**changes) -> Data:
    return Data(
        **{"name": "four", "images": IMAGES, "labels": LABELS, "classes": CLASSES, **changes}
    )


def test_batch_divides_by_the_levels():
    images, labels = make().batch(slice(1, 3))
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(images.numpy(), IMAGES[1:3].numpy().astype(np.float32) / 255)
    assert labels.tolist() == [1, 2]
    images, _ = make(levels=50).batch(torch.tensor([3, 0]))
    assert images[0, 2, 1, 1] == torch.tensor(47 / 50)
    assert images[1, 0, 0, 1] == torch.tensor(1 / 50)


def test_the_highest_level_is_exactly_one():
    for levels in (1, 16, 255):
        images = torch.full((2, 1, 2, 2), levels, dtype=torch.uint8)
        data = Data(images, torch.tensor([0, 1]), classes=("a", "b"), levels=levels, name="white")
        assert bool((data.batch(slice(None))[0] == 1).all())


def test_float_images_come_back_as_they_are():
    points = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make(images=points).batch(slice(None))[0], points)


def test_take_keeps_rows_together():
    taken = make(probabilities=PROBABILITIES).take(torch.tensor([2, 1]))
    assert torch.equal(taken.images, IMAGES[[2, 1]])
    assert taken.labels.tolist() == [2, 1]
    assert taken.probabilities is not None
    assert torch.equal(taken.probabilities, PROBABILITIES[[2, 1]])
    assert (taken.name, taken.classes, taken.levels, len(taken)) == ("four", CLASSES, 255, 2)


def test_take_of_a_mask_and_first():
    assert make().take(LABELS == 1).images.equal(IMAGES[[1, 3]])
    assert make().first(3).images.equal(IMAGES[:3])


def test_split_is_a_seeded_partition():
    points = torch.arange(100).float()[:, None] / 100
    data = Data(points, torch.arange(100) % 2, classes=("even", "odd"), name="line")
    first, rest = data.split(30, seed=7)
    assert (len(first), len(rest)) == (30, 70)
    rows = torch.cat([first.images, rest.images])[:, 0]
    assert torch.equal(rows.sort().values, points[:, 0])
    assert torch.equal((rows * 100).round().long() % 2, torch.cat([first.labels, rest.labels]))
    assert torch.equal(data.split(30, seed=7)[0].images, first.images)
    assert not torch.equal(data.split(30, seed=8)[0].images, first.images)


def test_split_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    make().split(2, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_fingerprint_follows_content_only():
    changed = IMAGES.clone()
    changed[3, 2, 1, 1] ^= 1
    same = [make(), make(name="other"), make(images=IMAGES.clone()), make(classes=("x", "y", "z"))]
    other = [
        make(images=changed),
        make(labels=LABELS.flip(0)),
        make(levels=47),
        make(images=IMAGES.reshape(4, 12)),
        make(images=IMAGES.reshape(4, 3, 1, 4)),
        make().first(3),
        make().take(torch.tensor([1, 0, 2, 3])),
    ]
    assert len({data.fingerprint() for data in same}) == 1
    assert len({data.fingerprint() for data in [*other, make()]}) == len(other) + 1
    assert re.fullmatch("[0-9a-f]{16}", make().fingerprint())


def test_fingerprint_ignores_memory_layout():
    turned = IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not turned.is_contiguous()
    assert make(images=turned).fingerprint() == make().fingerprint()


def test_data_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make().name = "new"  # pyright: ignore


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("column", [False, True])
def test_labels_of_any_integer_type_are_kept_as_int64(kind, column):
    labels = LABELS.to(kind)[:, None] if column else LABELS.to(kind)
    data = make(labels=labels)
    assert (data.labels.dtype, data.labels.tolist()) == (torch.int64, LABELS.tolist())
    assert data.fingerprint() == make().fingerprint()


def test_round_off_is_moved_into_the_box():
    data = make(images=torch.tensor([[-5e-7], [0.5], [1.0], [1 + 9e-7]]))
    assert data.images.flatten().tolist() == [0.0, 0.5, 1.0, 1.0]


NAN, INF = float("nan"), float("inf")
POINTS = torch.full((4, 2), 0.5)


def with_value(value: float) -> torch.Tensor:
    points = POINTS.clone()
    points[2, 1] = value
    return points


BAD = {
    "no rows": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one image.*empty"),
    "no pixels": ({"images": torch.zeros(4, 0)}, "at least one image"),
    "one axis": ({"images": torch.zeros(4)}, r"batch \[N, \.\.\.\]"),
    "float64": ({"images": POINTS.double()}, "uint8, or float32.*float64"),
    "int64 images": ({"images": IMAGES.long()}, "uint8, or float32.*int64"),
    "grey without planes": ({"images": IMAGES[:, 0]}, r"found shape \(4, 2, 2\).*x\[:, None\]"),
    "planes last": (
        {"images": IMAGES.reshape(4, 2, 2, 3)},
        r"1 or 3 planes.*permute\(0, 3, 1, 2\)",
    ),
    "NaN": ({"images": with_value(NAN)}, r"finite.*found min nan.*NaN or infinite"),
    "infinite": ({"images": with_value(INF)}, r"max inf.*NaN or infinite"),
    "minus infinite": ({"images": with_value(-INF)}, r"min -inf.*NaN or infinite"),
    "0..255 float": ({"images": with_value(200.0)}, "max 200.*divide by 255"),
    "normalised": ({"images": with_value(-2.1)}, "min -2.1.*normalisation inside the model"),
    "above levels": ({"images": IMAGES, "levels": 16}, r"\[0, 16\]; found max 47"),
    "levels": ({"levels": 0}, r"`levels` must lie in \[1, 255\].*: 0"),
    "one class": (
        {"classes": ("a",), "labels": LABELS * 0},
        r"at least two classes; found \['a'\]",
    ),
    "float labels": ({"labels": LABELS.float()}, "one integer.*float32"),
    "one-hot labels": ({"labels": torch.eye(4)[:, :3].long()}, r"shape \(4, 3\).*argmax\(1\)"),
    "labels of torch's ignore_index": ({"labels": LABELS - 100}, r"-100.*drop these rows"),
    "fewer labels": ({"labels": LABELS[:3]}, r"each of 4 images; found shape \(3,\)"),
    "label too large": ({"labels": LABELS + 1}, r"\[0, 2\].*found 3.*from 0"),
    "label negative": ({"labels": LABELS - 1}, r"found -1.*without a label"),
    "few probabilities": ({"probabilities": PROBABILITIES[:3]}, r"float32 \[4, 3\].*\(3, 3\)"),
    "counts": ({"probabilities": PROBABILITIES * 50}, "sum to 1; row 0 .*sum 50.*vote counts"),
    "negative fraction": (
        {"probabilities": PROBABILITIES + torch.tensor([0.5, -0.5, 0])},
        "non-negative.*row 0 has min -0.5",
    ),
    "NaN fraction": (
        {"probabilities": PROBABILITIES / torch.tensor([1.0, 1, 1, 0])[:, None]},
        "row 3 has min nan",
    ),
    "double fractions": ({"probabilities": PROBABILITIES.double()}, "float32.*found.*float64"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_faulty_data_raises(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_faulty_counts_raise():
    with pytest.raises(ValueError, match=r"`count` must lie in \[1, 4\].*: 5"):
        make().first(5)
    with pytest.raises(ValueError, match=r"`count` must lie in \[1, 4\].*: 0"):
        make().first(0)
    with pytest.raises(ValueError, match=r"`count` must lie in \[1, 3\].*: 4"):
        make().split(4, seed=0)
    with pytest.raises(ValueError, match="at least one image"):
        make().take(slice(0, 0))


def test_arrays_of_numpy():
    """Few arguments: images and labels; planes may be last, floats double."""
    x = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    data = Data(x, [0, 1, 2, 1])
    np.testing.assert_array_equal(data.images.numpy(), x.transpose(0, 3, 1, 2))
    assert (data.labels.tolist(), data.classes, data.name) == (
        [0, 1, 2, 1],
        ("0", "1", "2"),
        "data",
    )
    assert Data(x / 255, LABELS).images.dtype == torch.float32
    votes = Data(x, LABELS, probabilities=PROBABILITIES.double().numpy())
    assert votes.probabilities.dtype == torch.float32
    assert repr(data) == "Data(data: 4 images 3x5x6, 3 classes)"


def test_labels_are_optional():
    data = Data(IMAGES)
    assert (data.labels, data.classes, len(data.take(slice(2)))) == (None, (), 2)
    assert Data(IMAGES, classes=CLASSES).classes == CLASSES
    assert data.inputs(slice(1)).shape == (1, 3, 2, 2)
    assert data.fingerprint() != make().fingerprint()
    with pytest.raises(ValueError, match=r"no labels, and this needs them.*replace\(data, labels"):
        data.batch(slice(1))
    assert replace(data, labels=LABELS, classes=None).batch(slice(2))[1].tolist() == [0, 1]


def test_any_value_range():
    points = torch.tensor([[-3.0], [250.0], [1e9], [0.0]])
    data = make(images=points, value_range=None)
    assert data.inputs(slice(None)).equal(points)
    assert data.box == (-INF, INF)
    assert make(images=points / 1e9, value_range=(-1, 1)).box == (-1, 1)
    with pytest.raises(ValueError, match=r"finite and lie in \[-10, 10\].*max 1e\+09.*None for no"):
        make(images=points, value_range=(-10, 10))
    for bad in (NAN, INF, -INF):
        with pytest.raises(ValueError, match="finite"):
            make(images=with_value(bad), value_range=None)
    with pytest.raises(ValueError, match=r"uint8 `images` mean \[0, 1\]"):
        make(value_range=(0, 255))
    with pytest.raises(ValueError, match=r"low < high, or None"):
        make(images=points, value_range=(1, 1))


def test_what_is_no_array_is_named():
    with pytest.raises(ValueError, match=r"tensor or a numpy array; found list.*surefoot\.load"):
        Data([[0.5]])
