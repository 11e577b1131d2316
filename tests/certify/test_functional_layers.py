"""Functions as layers: the same certificates as of the layers, or an error that names the form."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from surefoot.certify import lipschitz, relaxation
from surefoot.certify.lipschitz.functional_layers import FORMS
from surefoot.certify.relaxation.several import WindowMax
from surefoot.guarantees import Local
from surefoot.threat import Threat

PAIRS = {
    "sigmoid": (lambda x: x.sigmoid(), nn.Sigmoid()),
    "tanh": (torch.tanh, nn.Tanh()),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.3), nn.LeakyReLU(0.3)),
    "relu6": (functional.relu6, nn.ReLU6()),
    "hardtanh": (lambda x: functional.hardtanh(x, max_val=0.2), nn.Hardtanh(-1.0, 0.2)),
    "elu": (lambda x: functional.elu(x, 0.5), nn.ELU(0.5)),
    "selu": (functional.selu, nn.SELU()),
    "silu": (functional.silu, nn.SiLU()),
    "gelu": (lambda x: functional.gelu(x, approximate="tanh"), nn.GELU("tanh")),
    "hardswish": (functional.hardswish, nn.Hardswish()),
    "hardsigmoid": (functional.hardsigmoid, nn.Hardsigmoid()),
    "max_pool2d": (lambda x: functional.max_pool2d(x, 3, 2, 1), nn.MaxPool2d(3, 2, 1)),
    "avg_pool2d": (lambda x: functional.avg_pool2d(x, 2, 1), nn.AvgPool2d(2, 1)),
    "adaptive_avg_pool2d": (
        lambda x: functional.adaptive_avg_pool2d(x, (2, 1)),
        nn.AdaptiveAvgPool2d((2, 1)),
    ),
    "dropout": (lambda x: functional.dropout(x, 0.4, training=False), nn.Dropout(0.4)),
    "dropout2d": (lambda x: functional.dropout2d(x, 0.4, False), nn.Dropout2d(0.4)),
}


class Between(nn.Module):
    """A convolution and a dense layer, and something between them."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.between, self.last = nn.Conv2d(1, 3, 3), between, nn.LazyLinear(4)
        self.eval()(torch.rand(1, 1, 7, 7))

    def forward(self, images):
        return self.last(self.between(self.conv(images)).flatten(1))


def relaxed(net, images):
    return relaxation.certify(net, images, guarantee=Local(), threat=Threat("linf", 0.05)).radius


def test_every_form_is_tried():
    assert set(PAIRS) == set(FORMS)


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_is_certified_as_its_layer(name, generator):
    function, layer = PAIRS[name]
    images = torch.rand(4, 1, 7, 7, generator=generator)
    found, expected = (relaxed(Between(one), images) for one in (function, layer))
    assert torch.equal(found, expected)
    assert found.max() > 0
    found, expected = (
        lipschitz.certify(Between(one), images, guarantee=Local()).radius
        for one in (function, layer)
    )
    assert torch.equal(found, expected)
    assert found.max() > 0


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: functional.leaky_relu(x, 0.1, inplace=True), "leaky_relu in place"),
        (lambda x: functional.dropout(x, 0.1), "stays random"),
        (lambda x: functional.avg_pool2d(x, x.shape[-1]), "made from the images' size"),
        (lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], "max_pool2d_with_indices"),
        (lambda x: functional.softplus(x), "the operation softplus"),
        (lambda x: functional.normalize(x), "the operation normalize"),
        (lambda x: functional.max_pool2d(functional.pad(x, (0, 1), value=-torch.inf), 2), "inf"),
        (nn.PReLU(3), "PReLU with 3 slopes"),
        (
            nn.Sequential(nn.ConstantPad2d(1, -torch.inf), nn.MaxPool2d(2)),
            "Pad2d with -inf",
        ),
        (lambda x: x.narrow(0, 0, x.shape[0]), "narrow"),
    ],
)
def test_forms_without_a_relaxation_are_named(function, match):
    with pytest.raises(ValueError, match=match):
        relaxed(Between(function), torch.rand(2, 1, 7, 7))


def test_a_function_that_was_replaced_is_named(monkeypatch):
    net = Between(PAIRS["leaky_relu"][0])
    monkeypatch.setattr(functional, "leaky_relu", lambda x, slope: x * slope)
    with pytest.raises(ValueError, match="leaky_relu` was replaced"):
        relaxed(net, torch.rand(2, 1, 7, 7))


def test_windows_of_max_pools_are_those_of_torch(generator):
    """The maximum over the listed members is what the layer computes, in all its forms."""
    for case in range(60):
        draw = lambda low, high: int(torch.randint(low, high, (), generator=generator))  # noqa: E731
        size, step = (draw(1, 4), draw(1, 4)), (draw(1, 3), draw(1, 3))
        layer = nn.MaxPool2d(
            size,
            (draw(1, 4), draw(1, 4)),
            padding=(draw(0, size[0] // 2 + 1), draw(0, size[1] // 2 + 1)),
            dilation=step,
            ceil_mode=bool(case % 2),
        )
        shape = (2, draw(7, 11), draw(7, 11))
        rule = WindowMax(layer, shape)
        images = torch.randn(3, *shape, generator=generator).double()
        least, most = rule.range(images, images)
        assert torch.equal(least, layer(images))
        assert torch.equal(most, layer(images))
