"""The nets: shapes, known sizes, and what they promise by construction."""

import pytest
import torch
from torch import nn

from surefoot.models import (
    LeNet,
    LipschitzMLP,
    MinMax,
    Normalize,
    PreActResNet18,
    ResNet20,
    build,
    frozen,
)


def test_lenet_has_the_classic_layers():
    widths = [layer.weight.shape[0] for layer in LeNet() if hasattr(layer, "weight")]
    assert widths == [6, 16, 120, 84, 10]
    assert sum(weight.numel() for weight in LeNet().parameters()) == 61_706
    wide = [layer.weight.shape[0] for layer in LeNet(width=3) if hasattr(layer, "weight")]
    assert wide == [18, 48, 360, 84, 10]


def test_preactresnet18_has_the_published_size_at_both_widths():
    assert sum(w.numel() for w in PreActResNet18().parameters()) == pytest.approx(11.17e6, rel=1e-3)
    assert sum(w.numel() for w in PreActResNet18(width=16).parameters()) == pytest.approx(
        0.70e6, rel=1e-2
    )


def test_resnet20_has_the_published_size_and_shortcuts_without_weights():
    net = ResNet20()
    assert sum(w.numel() for w in net.parameters()) == pytest.approx(0.27e6, rel=1e-2)
    assert [tuple(w.shape[2:]) for w in net.parameters() if w.ndim == 4] == [(3, 3)] * 19


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("mlp", {"inputs": 64}, (1, 8, 8)),
        ("lenet", {"size": 8}, (1, 8, 8)),
        ("lenet", {"planes": 3, "size": 32}, (3, 32, 32)),
        ("preactresnet18", {"width": 4, "dropout": 0.2}, (3, 16, 16)),
        ("resnet20", {"width": 4}, (3, 16, 16)),
        ("lipschitz-mlp", {"inputs": 64, "hidden": (16,)}, (1, 8, 8)),
    ],
)
def test_nets_give_one_logit_a_class_and_nothing_depends_on_the_batch(name, arguments, shape):
    model = build(name, classes=7, **arguments).eval()
    images = torch.rand(5, *shape)
    logits = model(images)
    assert logits.shape == (5, 7)
    assert torch.allclose(model(images[2:3])[0], logits[2], atol=1e-5)


def test_minmax_keeps_the_norm_and_sorts_pairs():
    features = torch.tensor([[3.0, 1.0, -2.0, 5.0]])
    assert MinMax()(features).tolist() == [[1.0, 3.0, -2.0, 5.0]]


def test_the_slope_of_a_lipschitz_net_stays_below_its_scale(generator):
    model = LipschitzMLP(6, hidden=(8, 8), classes=3, scale=2.0)
    x, y = torch.rand(2, 400, 6, generator=generator)
    slope = (model(x) - model(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert slope.max().item() <= 2.0 * (1 + 1e-5)


def test_normalize_shifts_and_scales_each_plane():
    layer = Normalize([0.5, 0.0], [0.25, 1.0])
    found = layer(torch.ones(1, 2, 1, 1)).flatten().tolist()
    assert found == [2.0, 1.0]


def test_frozen_restores_mode_and_gradient_flags_also_after_an_exception():
    model = PreActResNet18(width=2)
    model.train()
    model[1].eval()  # a mixed state must come back as it was
    next(iter(model.parameters())).requires_grad_(False)
    before = [m.training for m in model.modules()], [w.requires_grad for w in model.parameters()]

    def fail_inside():
        with frozen(model):
            assert not any(m.training for m in model.modules())
            assert not any(w.requires_grad for w in model.parameters())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    after = [m.training for m in model.modules()], [w.requires_grad for w in model.parameters()]
    assert before == after


def test_dropout_follows_every_convolution():
    model = PreActResNet18(planes=1, width=2, dropout=0.5)
    events: list[str] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda *_: events.append("convolution"))
        if isinstance(layer, nn.Dropout) and layer.p > 0:
            layer.register_forward_hook(lambda *_: events.append("dropout"))
    model(torch.rand(2, 1, 8, 8))
    assert events == ["convolution", "dropout"] * 20  # stem, 16 in the blocks, 3 shortcuts
