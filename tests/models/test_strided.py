"""The plain nets of certified training: layers and shapes."""

import pytest
import torch
from torch import nn

from surefoot.models import build


def test_the_small_net_is_that_of_wong_and_kolter():
    net = build("relu-2c2f")
    made = [type(layer) for layer in net]
    assert made == [*[nn.Conv2d, nn.ReLU] * 2, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    first, second = (layer for layer in net if isinstance(layer, nn.Conv2d))
    for layer, channels in ((first, 16), (second, 32)):
        found = (layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        assert found == (channels, (4, 4), (2, 2), (1, 1))
    assert sum(weight.numel() for weight in net.parameters()) == 166_406
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("shape", ["2c2f", "4c3f", "6c2f", "8c2f"])
def test_every_shape_runs_with_batch_norm(shape):
    net = build(f"relu-{shape}", planes=3, size=16, classes=4, width=0.25, batch_norm=True)
    assert net.training
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    many = [sum(isinstance(layer, kind) for layer in net) for kind in (nn.Conv2d, nn.BatchNorm2d)]
    assert many[0] == many[1] == int(shape[0])
    with pytest.raises(ValueError, match="need images of at least"):
        build(f"relu-{shape}", size=2)
