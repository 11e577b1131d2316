"""Shuffled images: one permutation for all, planes together, everything else as it was."""

import torch

from surefoot.data import Data, load
from surefoot.data.shuffled import shuffled


def test_pixels_move_alike_and_planes_together():
    places = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    images = torch.cat([places + 10 * plane for plane in range(3)], 1).repeat(4, 1, 1, 1)
    data = Data(images, torch.tensor([0, 1, 1, 0]), classes=("ant", "bee"), name="count")
    found = shuffled(data, seed=1)
    flat = found.images.flatten(2)
    assert found.name == "shuffled-count"
    assert flat[0, 0].sort().values.tolist() == list(range(6))
    assert flat[0, 0].tolist() != list(range(6))
    assert bool((flat[:, 1] == flat[:, 0] + 10).all())
    assert bool((flat == flat[:1]).all())
    assert bool((shuffled(data, seed=1).images == found.images).all())
    assert bool((shuffled(data, seed=2).images != found.images).any())


def test_a_prefix_shuffles_any_set():
    plain, moved = load("digits"), load("shuffled:digits")
    assert moved.labels.tolist() == plain.labels.tolist()
    assert moved.fingerprint() != plain.fingerprint()
    sums = [data.images.flatten(1).sum(1) for data in (plain, moved)]
    assert torch.allclose(sums[0].double(), sums[1].double())
    points = load("shuffled:moons").images  # two coordinates, kept or exchanged
    assert bool((points.sort(1).values == load("moons").images.sort(1).values).all())
