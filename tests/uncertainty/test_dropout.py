"""Monte-Carlo dropout: random in eval mode, unbiased over draws, refused without dropout."""

import pytest
import torch
from torch import nn

from surefoot.models.frozen import frozen
from surefoot.uncertainty import MCDropout


def test_dropout_stays_on_and_everything_else_is_in_eval_mode():
    net = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5))
    model = MCDropout(net).eval()
    assert [layer.training for layer in net] == [False, True]
    images = torch.rand(4, 8)
    with frozen(model):
        assert not torch.equal(model(images), model(images))
    assert torch.equal(net[0].running_mean, torch.zeros(8))


def test_each_image_has_its_own_mask_and_the_mean_is_the_net_without_dropout():
    net = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 3))
    model = MCDropout(net)
    image = torch.rand(8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        draws = model(image.expand(20_000, 8))
        expected = net[1](image)
    assert len(draws.unique(dim=0)) > 100
    spread = draws.std(0) / 20_000**0.5
    assert bool(((draws.mean(0) - expected).abs() < 5 * spread).all())


def test_a_net_that_drops_nothing_is_refused():
    with pytest.raises(ValueError, match="dropout"):
        MCDropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
