"""Bounded layers: Lipschitz constants by singular values, before and after training."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from surefoot.models import ResidualMLP, build
from surefoot.models.residual import ResidualBlock
from surefoot.models.spectral import bound_layers, norm_bound


def norm_of(layer, shape):
    """Take the largest singular value of a layer, as the matrix of all pixels."""
    size = torch.Size(shape).numel()
    inputs = torch.eye(size, dtype=torch.float64).view(size, *shape)
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear):
        return torch.linalg.svdvals(weight)[0].item()
    out = conv2d(inputs, weight, stride=layer.stride, padding=layer.padding)
    return torch.linalg.svdvals(out.flatten(1))[0].item()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("planes", [(2, 5), (5, 2), (3, 3)])
def test_the_bound_of_a_convolution_holds_and_is_not_idle(stride, planes):
    torch.manual_seed(0)
    layer = nn.Conv2d(*planes, 3, stride, padding=1)
    exact = norm_of(layer, (planes[0], 8, 8))
    bound = norm_bound(layer.weight.double()).item()
    assert exact <= bound * (1 + 1e-9) <= 3.1 * exact
    peak = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.constant_(peak.weight, 1.0)  # for a box the bound is reached on large images
    assert norm_bound(peak.weight).item() == pytest.approx(9.0, rel=1e-5)
    assert 8.5 < norm_of(peak, (1, 24, 24)) < 9.0


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_layers_stay_within_the_bound_while_they_learn(bound, generator):
    torch.manual_seed(0)
    net = build("lenet", size=8, classes=3)
    bound_layers(net, bound)
    images, labels = torch.rand(32, 1, 8, 8, generator=generator), torch.arange(32) % 3
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(20 * net(images), labels).backward()
        optimizer.step()
    shapes = iter([(1, 8, 8), (6, 4, 4), (16 * 4,), (120,), (84,)])
    norms = [norm_of(layer, next(shapes)) for layer in net if hasattr(layer, "weight")]
    assert len(norms) == 5
    assert max(norms) <= bound * (1 + 1e-5)
    assert max(norms[2:]) == pytest.approx(bound, rel=1e-4)


def test_a_weight_below_the_bound_is_left_alone():
    layer = nn.Linear(4, 4)
    bound_layers(layer, 1.0)
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.eye(4) / 4)
    assert torch.equal(layer.weight, torch.eye(4) / 4)


def test_residual_blocks_keep_images_apart(generator):
    """With a branch of constant c, distances change by factors between 1 - c and 1 + c."""
    torch.manual_seed(0)
    block = ResidualBlock(16)
    bound_layers(block, 0.7)
    first, second = torch.randn(2, 500, 16, generator=generator)
    ratio = (block(first) - block(second)).norm(dim=1) / (first - second).norm(dim=1)
    assert ratio.min().item() >= 0.3
    assert ratio.max().item() <= 1.7


def test_what_has_no_bound_is_refused():
    with pytest.raises(ValueError, match="BatchNorm2d"):
        bound_layers(build("resnet20"), 1.0)
    with pytest.raises(ValueError, match="above 0"):
        bound_layers(nn.Linear(1, 1), 0.0)
    with pytest.raises(ValueError, match="equal widths"):
        ResidualMLP(4, hidden=(8, 4))
    assert build("residual-mlp", inputs=4, hidden=[8, 8])(torch.rand(2, 4)).shape == (2, 10)
