"""Transfer probe: features of the named layer, a linear classifier, the model untouched."""

import pytest
import torch
from torch import nn

from surefoot import build, load
from surefoot.data import Data
from surefoot.papers.probe import features, transfer_probe


def vectors(count, seed, noise):
    """Two classes that only the product of the coordinates tells apart."""
    stream = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (count, 2), generator=stream) - 1
    points = 0.5 + 0.3 * signs + noise * (torch.rand(count, 2, generator=stream) - 0.5)
    return Data(points, (signs.prod(1) > 0).long(), classes=("unlike", "alike"), name="xor")


class Product(nn.Module):
    def forward(self, images):
        return ((images[:, :1] - 0.5) * (images[:, 1:] - 0.5)).repeat(1, 2)


def test_what_the_features_make_linear_is_learnt_and_nothing_else():
    train, test = vectors(300, 0, 0.2), vectors(200, 1, 0.2)
    seeing = nn.Sequential(Product(), nn.Linear(2, 5))
    found = transfer_probe(seeing, train, test, layer="0")
    assert found.value == 1
    assert 0.95 < found.low < 1
    blind = nn.Sequential(nn.Flatten(), nn.Linear(2, 5))
    assert transfer_probe(blind, train, test, layer="0").value < 0.65


def test_features_are_those_of_the_layer_in_eval_mode():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.BatchNorm1d(7), nn.Dropout(0.5))
    net.train()
    data = load("digits").first(300)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = features(net, data, layer="3")
    assert found.shape == (300, 7)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    torch.testing.assert_close(found, net(data.batch(slice(None))[0]).detach())


def test_features_of_a_net_serve_another_task():
    """A random layer already tells digits below five from the others far better than chance."""
    torch.manual_seed(0)
    net = build("mlp", inputs=64)
    train, test = load("digits", "train").first(600), load("digits")
    halves = [
        Data(
            part.images,
            (part.labels >= 5).long(),
            classes=("low", "high"),
            levels=16,
            name="halves",
        )
        for part in (train, test)
    ]
    found = transfer_probe(net, *halves, layer="2")
    assert found.low > 0.8
    assert found.low < found.value < found.high


def test_the_layer_must_exist():
    with pytest.raises(ValueError, match="must be one of"):
        features(build("mlp", inputs=64), load("digits").first(4), layer="nowhere")
