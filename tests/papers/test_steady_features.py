"""Features may move no further than their input: pairs, gradients, a region among them."""

import pytest
import torch

from surefoot.limits import concentration
from surefoot.papers.steady_features import block_means, learn_score

ORDER = {"l2": 2, "linf": torch.inf}


def moved(one, other, norm):
    return torch.linalg.vector_norm((one - other).flatten(1), ORDER[norm], dim=1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_means_of_blocks_move_as_far_as_pixels_at_most(generator, norm):
    images = torch.rand(50, 3, 8, 8, generator=generator, dtype=torch.float64)
    constant = torch.rand(50, 3, 2, 2, generator=generator, dtype=torch.float64)
    other = images + constant.repeat_interleave(4, 2).repeat_interleave(4, 3)
    drawn = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    for changed in (other, drawn):
        far = moved(images, changed, norm)
        assert (
            moved(block_means(images, 4, norm), block_means(changed, 4, norm), norm) <= far + 1e-12
        ).all()
    # A shift of whole blocks moves features as far as pixels: the scale is the largest that may be.
    means = block_means(images, 4, norm), block_means(other, 4, norm)
    torch.testing.assert_close(moved(*means, norm), moved(images, other, norm))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_learned_score_moves_no_further_than_its_input_and_finds_the_disputed_side(
    generator, norm
):
    points = torch.rand(600, 12, generator=generator)
    unsure = (points[:, 0] > 0.7).double()
    score = learn_score(points, unsure, gamma=0.5, eps=0.02, norm=norm, seed=0)
    found = score(points).squeeze(1)
    assert found[unsure > 0].mean() > found[unsure == 0].max()
    moving = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(moving).sum(), moving)
    dual = {"l2": 2, "linf": 1}[norm]
    assert (torch.linalg.vector_norm(slope, dual, dim=1) <= 1).all()
    other = torch.rand(600, 12, generator=generator)
    far = moved(points, other, norm)
    assert ((score(points) - score(other)).abs().squeeze(1) <= far + 1e-6).all()


def test_the_expansion_of_a_region_of_features_holds_that_of_the_region(generator):
    images = torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    means = block_means(images, 2, "linf")
    settings = {"risk": 0.2, "gamma": 0.0, "eps": 0.1, "norm": "linf", "family": "cubes"}
    region = concentration(means, torch.zeros(200).double(), **settings).region
    inside = region.contains(means)
    assert inside.any()
    shift = 0.1 * (2 * torch.rand(30, 1, 4, 4, generator=generator, dtype=torch.float64) - 1)
    near = (images[inside].unsqueeze(1) + shift).flatten(0, 1)
    assert region.expand(0.1).contains(block_means(near, 2, "linf")).all()
