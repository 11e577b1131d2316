"""Streams keyed by content, and a seed that nobody can have searched for."""

import torch

from surefoot.streams import keys, normal, own_randomness, system_seed


def test_equal_images_share_a_stream_and_others_do_not():
    images = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    one, other, third = keys(images)
    assert keys(images.flip(0)) == [third, other, one]
    assert keys(images.double()) == [one, other, third]
    assert len({one, other, third}) == 3
    assert not torch.equal(normal((5,), 0, one), normal((5,), 0, other))


def test_a_seed_of_the_system_is_a_seed_and_never_the_same():
    seeds = {system_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    normal((2,), max(seeds), 1)  # a stream takes it


def test_the_global_stream_comes_back_after_own_randomness():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with own_randomness(3):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with own_randomness(3):
        assert torch.equal(torch.rand(2), inside)
