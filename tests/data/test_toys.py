"""Toys: the geometry that their docstrings promise, in the units of the papers."""

import math
from dataclasses import replace

import pytest
import torch

from surefoot import load
from surefoot.data import Data, blended, named
from surefoot.data.toys import (
    CRESCENT_UNIT,
    UNIT,
    SlabVariant,
    boxed,
    crescents,
    joined,
    narrow_corridor,
    slabs,
    two_distance,
)
from surefoot.data.toys.crescents import CRESCENTS

TOYS = ("narrow-corridor", "s-corridor", "two-distance", "lms-5", "lms-5-50d", "ms-5-7")


def in_units(data):
    return (data.images.double() - 0.5) / UNIT


@pytest.mark.parametrize("name", TOYS)
def test_named_toys_are_two_fixed_draws(name):
    train, test = load(name, "train"), load(name)
    assert train.name == test.name == name
    assert train.fingerprint() == load(name, "train").fingerprint() != test.fingerprint()
    assert train.images.dtype == torch.float32
    assert 0.4 < train.labels.double().mean() < 0.6


def test_one_factor_maps_units_to_the_box():
    points = torch.tensor([[-2.0, 0.0], [1.0, 2.0]])
    data = boxed("two", points, torch.tensor([0, 1]))
    assert data.images.tolist() == [[0, 0.5], [0.75, 1]]
    with pytest.raises(ValueError, match=r"reaches 3; at `unit` 0.25 the box holds 2.*0.167"):
        boxed("two", 1.5 * points, torch.tensor([0, 1]))


def decoded(column, kind, margin):
    """Return the ring of each coordinate and its place inside the ring, from 0 to 1."""
    thick = (2 - 2 * (kind - 1) * margin) / kind
    starts = [0.0] + [(ring - 0.5) * thick + 2 * ring * margin for ring in range(1, kind // 2 + 1)]
    starts = torch.tensor(starts, dtype=torch.float64)
    size = column.abs()
    ring = (size.unsqueeze(1) >= starts - 1e-6).sum(1) - 1
    depth = torch.where(ring > 0, thick, thick / 2)
    return ring, (size - starts[ring]) / depth


FRACTIONS = {3: [1, 1], 5: [0.75, 1, 0.25], 7: [0.5, 7 / 8, 0.5, 1 / 8]}


@pytest.mark.parametrize("kind", [3, 5, 7])
def test_slabs_tell_the_class(kind):
    margin = 0.05
    data = slabs(20_000, (kind,), seed=0, margins=(0.1, margin))
    column = in_units(data)[:, 0]
    ring, place = decoded(column, kind, margin)
    assert torch.equal(ring % 2, data.labels)
    assert place.min() >= -1e-5
    assert place.max() <= 1 + 1e-5
    assert place.mean().item() == pytest.approx(0.5, abs=0.01)  # uniform: 3 sigma are 0.006
    for number, fraction in enumerate(FRACTIONS[kind]):
        own = data.labels == number % 2
        assert (ring[own] == number).double().mean().item() == pytest.approx(fraction, abs=0.015)
    assert column.abs().max().item() == pytest.approx(1, abs=1e-3)
    assert column.mean().abs() < 0.02


def test_neighbouring_slabs_are_two_margins_apart():
    data = slabs(20_000, (5,), seed=1, margins=(0.1, 0.07))
    column, labels = in_units(data)[:, 0], data.labels
    ordered, order = column.sort()
    changes = labels[order].diff() != 0
    gaps = ordered.diff()[changes]
    assert len(gaps) == 4
    assert gaps.min() >= 0.14 - 1e-6
    assert gaps.max() < 0.15


def test_linear_coordinate_keeps_its_margin():
    data = slabs(5000, (1, 3), seed=2, margins=(0.2, 0.1), width=1.5)
    signed = in_units(data)[:, 0] * (2 * data.labels - 1)
    assert signed.min() >= 0.3 - 1e-6
    assert signed.min() < 0.302
    assert signed.max().item() == pytest.approx(1.5, abs=0.01)


def test_coordinates_are_independent_given_the_class():
    data = slabs(20_000, (1, 5, 7), seed=3)
    for label in (0, 1):
        sizes = in_units(data)[data.labels == label].abs().T
        correlation = torch.corrcoef(sizes) - torch.eye(3, dtype=torch.float64)
        assert correlation.abs().max() < 0.05


def test_corruption_has_its_fraction():
    data = slabs(20_000, (1, 5), seed=4, variant=SlabVariant(wrong=(0.1, 0.3)))
    linear, slab = in_units(data).T
    assert ((linear > 0) != data.labels.bool()).double().mean().item() == pytest.approx(
        0.1, abs=0.01
    )
    ring, _ = decoded(slab, 5, 0.1)
    assert (ring % 2 != data.labels).double().mean().item() == pytest.approx(0.3, abs=0.015)
    inside = in_units(slabs(20_000, (1, 5), seed=4, variant=SlabVariant(inside=0.2)))[:, 0].abs()
    assert (inside < 0.1 - 1e-9).double().mean().item() == pytest.approx(0.2, abs=0.015)


def test_own_fractions_of_rings():
    ring, _ = decoded(
        in_units(slabs(4000, (5,), seed=0, variant=SlabVariant(fractions=(1.0, 1.0, 0.0))))[:, 0],
        5,
        0.1,
    )
    assert int(ring.max()) == 1


def test_rotation_keeps_all_distances():
    plain = slabs(200, (1, 5, 5), seed=5)
    turned = slabs(200, (1, 5, 5), seed=5, variant=SlabVariant(rotated=True))
    assert torch.equal(plain.labels, turned.labels)
    before, after = in_units(plain), in_units(turned)
    torch.testing.assert_close(
        torch.cdist(before, before), torch.cdist(after, after), atol=1e-5, rtol=0
    )
    turn = torch.linalg.lstsq(before, after).solution
    assert torch.linalg.det(turn).item() == pytest.approx(1, abs=1e-4)
    assert (turn - torch.eye(3)).abs().max() > 0.1


def test_impossible_slabs_raise():
    with pytest.raises(ValueError, match="found 4"):
        slabs(10, (1, 4), seed=0)
    with pytest.raises(ValueError, match="do not fit in a width of 1"):
        slabs(10, (5,), seed=0, margins=(0.1, 0.3))


def test_straight_corridor_widens_as_promised():
    data = narrow_corridor(3000, seed=0, half_gaps=(0.05, 0.5), noise=0.5)
    forward, sideways = in_units(data).T
    place = (forward / 1.3 + 1) / 2
    assert place.min() >= -1e-6
    assert place.max() <= 1 + 1e-6
    fraction = sideways * (2 * data.labels - 1) / (0.05 + 0.45 * place)
    assert fraction.min().item() == pytest.approx(1, abs=2e-3)
    assert fraction.max().item() == pytest.approx(1.5, abs=2e-3)


def test_curved_corridor_has_each_class_on_its_side():
    data = narrow_corridor(2000, seed=0, half_gaps=(0.04, 0.45), bend=0.25)
    forward, sideways = in_units(data).T
    line = torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    curve = torch.stack([line, 0.25 * (math.pi / 1.3 * line).sin()], 1)
    apart = torch.cdist(torch.stack([forward, sideways], 1), curve)
    nearest = apart.argmin(1)
    upper = sideways > curve[nearest, 1]
    assert torch.equal(upper, data.labels.bool())
    assert apart.amin(1).min() > 0.039
    assert data.name == "s-corridor"


def test_two_distances():
    data = two_distance(3000, seed=0, half_gaps=(0.05, 0.6), depth=0.3)
    across, height = in_units(data).T
    signed = height * (2 * data.labels - 1)
    left, right = across < 0, across > 0
    assert across.abs().min() >= 0.2 - 1e-6
    assert across.abs().max() <= 1.2 + 1e-6
    for side, gap in ((left, 0.05), (right, 0.6)):
        assert signed[side].min().item() == pytest.approx(gap, abs=2e-3)
        assert signed[side].max().item() == pytest.approx(gap + 0.3, abs=2e-3)


def pictures(count, planes, size, classes, seed, levels=255):
    stream = torch.Generator().manual_seed(seed)
    images = torch.randint(levels + 1, (count, planes, size, size), generator=stream)
    labels = torch.arange(count) % classes
    names = tuple(f"{seed}{number}" for number in range(classes))
    return Data(images.to(torch.uint8), labels, classes=names, levels=levels, name=f"set{seed}")


def test_joined_images_are_pairs_of_the_named_classes():
    upper, lower = pictures(40, 1, 6, 4, 0), pictures(90, 3, 8, 3, 1)
    data = joined(upper, lower, upper_classes=(3, 1), lower_classes=(0, 2), seed=0)
    assert data.images.shape == (20, 3, 16, 8)
    assert data.classes == ("03 over 10", "01 over 12")
    used = set()
    for image, label in zip(data.images, data.labels.tolist(), strict=True):
        above = (upper.images == image[:1, 1:7, 1:7]).flatten(1).all(1).nonzero().item()
        below = (lower.images == image[:, 8:]).flatten(1).all(1).nonzero().item()
        assert upper.labels[above] == (3, 1)[label]
        assert lower.labels[below] == (0, 2)[label]
        assert torch.equal(image[0], image[2]) == bool((image[0, 8:] == image[2, 8:]).all())
        assert int(image[:, 0].sum()) == 0  # the padding
        used.add((above, below))
    assert len({above for above, _ in used}) == 20


def test_unlike_images_are_not_joined():
    upper = pictures(8, 1, 6, 2, 0)
    with pytest.raises(ValueError, match="count grey alike"):
        joined(
            upper, pictures(8, 1, 6, 2, 1, 16), upper_classes=(0, 1), lower_classes=(0, 1), seed=0
        )
    with pytest.raises(ValueError, match="has no image"):
        joined(upper, upper, upper_classes=(0, 5), lower_classes=(0, 1), seed=0)
    with pytest.raises(ValueError, match=r"must hold images \[N, planes, H, W\]"):
        joined(upper, load("lms-5"), upper_classes=(0, 1), lower_classes=(0, 1), seed=0)


@pytest.mark.data
@pytest.mark.skipif(
    not (named.data_folder() / "mnist_test.npz").is_file(), reason="needs SUREFOOT_DATA"
)
def test_mnist_over_cifar():
    upper, lower = load("mnist"), load("cifar10")
    data = joined(upper, lower, upper_classes=(0, 1), lower_classes=(1, 9), seed=0)
    assert data.classes == ("0 over automobile", "1 over truck")
    assert data.images.shape == (1980, 3, 64, 32)


def test_crescents_lie_on_their_arcs_and_half_of_two_classes_in_a_cloud():
    data = crescents(8000, seed=0)
    assert data.labels.bincount().tolist() == [2000] * 4
    assert load("crescents").fingerprint() == crescents(400, seed=1).fingerprint()
    assert bool(((data.images > 0.01) & (data.images < 0.99)).all())
    points = (data.images.double() - 0.5) / CRESCENT_UNIT + torch.tensor([2.5, 0.0])
    for label, arc in enumerate(CRESCENTS.values()):
        x, y = points[data.labels == label].unbind(1)
        line = arc.height + arc.curve * (x - arc.middle) ** 2
        slope = 2 * arc.curve * (x - arc.middle)
        near = ((y - line) / (1 + slope**2).sqrt()).abs() < 4 * 0.125
        if arc.cloud is None:
            assert near.double().mean().item() > 0.99
            assert x.mean().item() == pytest.approx((arc.start + arc.end) / 2, abs=0.1)
        else:
            where = torch.tensor(arc.cloud, dtype=torch.float64)
            far = (torch.stack([x, y], 1) - where).norm(dim=1)
            assert (near | (far < 1.2)).double().mean().item() > 0.99
            assert (far < 0.6).double().mean().item() == pytest.approx(0.5, abs=0.08)


def test_blends_are_means_of_two_partners_and_their_label_is_a_coin():
    train, test = load("blended-digits", "train"), load("blended-digits")
    assert (len(train), len(test)) == (1297, 500)
    plain, whole = load("digits", "train").batch(slice(None))[0], train.images
    mixed = train.probabilities.amax(1) < 1
    assert mixed.sum().item() == round(0.4 * 1297)
    assert torch.equal(whole[~mixed], plain[~mixed])
    assert torch.equal(train.labels[~mixed], load("digits", "train").labels[~mixed])
    fractions = train.probabilities[mixed]
    assert torch.equal(fractions.view(-1, 5, 2).sum(2).amax(1), torch.ones(len(fractions)))
    own = load("digits", "train").labels[mixed]
    assert 0.42 < (train.labels[mixed] == own).double().mean().item() < 0.58
    assert torch.equal(train.labels[mixed] // 2, own // 2)
    # The other half of each blend is an image of the partner class.
    other = (2 * whole[mixed] - plain[mixed]).flatten(1)
    known = plain.flatten(1)
    nearest = torch.cdist(other, known).argmin(1)
    assert torch.allclose(known[nearest], other, atol=1e-5)
    assert torch.equal(load("digits", "train").labels[nearest], own ^ 1)


def test_blending_needs_pairs_of_classes_that_occur():
    digits = load("digits", "train")
    with pytest.raises(ValueError, match="even number"):
        blended.blended(replace(digits.take(digits.labels < 9), classes=tuple("012345678")), seed=0)
    with pytest.raises(ValueError, match="class 1 has no image"):
        blended.blended(digits.take(digits.labels != 1), seed=0)
