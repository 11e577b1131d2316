"""Nets of small Lipschitz constant: every layer against its operator as a float64 matrix."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from surefoot.models import MinMax, build, load, save
from surefoot.models.lipschitz import (
    AOL,
    BetaAbs,
    Cayley,
    LiResNetBlock,
    NormPool,
    Shift,
    UnitRows,
)

NETS = [
    ("lipschitz-mlp", {"inputs": 64, "hidden": (12,), "unit_rows": True}, (1, 8, 8)),
    ("gloro-mlp", {"inputs": 64, "hidden": (12,)}, (1, 8, 8)),
    ("gloro-2c2f", {"size": 8, "width": 0.25}, (1, 8, 8)),
    ("gloro-2c2f", {"size": 8, "width": 0.25, "weights": "aol"}, (1, 8, 8)),
    ("gloro-4c3f", {"size": 9, "width": 0.125}, (1, 9, 9)),
    ("gloro-6c2f", {"planes": 3, "size": 8, "width": 0.125}, (3, 8, 8)),
    ("gloro-8c2f", {"planes": 3, "size": 16, "width": 0.05}, (3, 16, 16)),
    ("liresnet", {"size": 8, "width": 8, "depth": 2, "neck": 8}, (3, 8, 8)),
    ("lipnext", {"size": 8, "width": 16, "depth": 2}, (3, 8, 8)),
]
BOUNDED = [case for case in NETS if case[0].startswith("lip") or "weights" in case[1]]


def net(name, arguments):
    torch.manual_seed(0)
    return build(name, classes=7, **arguments).eval()


def shaken(layer, generator):
    """Move all parameters far from where they start."""
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))
    return layer


def norm_of(layer, *shape):
    """Write the linear part of a layer out and take its largest singular value."""
    layer = layer.double()
    jacobian = torch.func.jacrev(layer)(torch.rand(1, *shape, dtype=torch.float64))
    return torch.linalg.matrix_norm(jacobian.flatten(-len(shape)).flatten(0, -2), 2).item()


@pytest.mark.parametrize(("name", "arguments", "shape"), NETS)
def test_nets_answer_and_come_back_from_their_files(name, arguments, shape, tmp_path):
    model, images = net(name, arguments), torch.rand(5, *shape)
    logits = model(images)
    assert logits.shape == (5, 7)
    save(model, tmp_path)
    assert torch.equal(load(tmp_path)(images), logits)


@pytest.mark.parametrize(("name", "arguments", "shape"), BOUNDED)
def test_bounded_nets_keep_their_slope_wherever_training_takes_them(
    name, arguments, shape, generator
):
    *trunk, last, _ = shaken(net(name, arguments), generator)  # behind: the factor on the logits
    trunk = nn.Sequential(*trunk)
    one, other = torch.rand(2, 200, *shape, generator=generator)
    with torch.no_grad():
        gap = trunk(one) - trunk(other)
    lipschitz_of = gap.flatten(1).norm(dim=1) / (one - other).flatten(1).norm(dim=1)
    assert lipschitz_of.max().item() <= 1 + 1e-5
    assert norm_of(trunk, *shape) <= 1 + 1e-9
    assert torch.allclose(last.weight.norm(dim=1), torch.ones(7))


@pytest.mark.parametrize("shape", [(6,), (6, 3, 5)])
def test_minmax_sorts_pairs_of_features_and_of_channels(shape, generator):
    features = torch.randn(4, *shape, generator=generator)
    expected = features.unflatten(1, (3, 2)).sort(dim=2).values.flatten(1, 2)
    assert torch.equal(MinMax()(features), expected)


@pytest.mark.parametrize("layer", [MinMax(), Shift(0.25), Shift(), BetaAbs(0.5)])
def test_layers_without_weights_are_isometries_nearly_everywhere(layer, generator):
    point = torch.randn(1, 8, 3, 3, generator=generator, dtype=torch.float64)
    matrix = torch.func.jacrev(layer)(point).reshape(72, 72)
    assert torch.equal(matrix @ matrix.T, torch.eye(72, dtype=torch.float64))


def test_the_shift_moves_four_groups_by_one_pixel_and_keeps_the_rest():
    image = torch.zeros(1, 5, 3, 3)
    image[:, :, 1, 1] = 1
    found = Shift(0.2)(image)[0].nonzero().tolist()
    assert found == [[0, 2, 1], [1, 0, 1], [2, 1, 2], [3, 1, 0], [4, 1, 1]]


def test_norm_pooling_has_slope_one_and_reaches_it(generator):
    one, other = torch.randn(2, 50, 3, 4, 4, generator=generator)
    gap = (NormPool()(one) - NormPool()(other)).norm(dim=1)
    assert bool((gap <= (one - other).flatten(1).norm(dim=1) * (1 + 1e-6)).all())
    assert torch.allclose(NormPool()(2 * one) - NormPool()(one), one.flatten(2).norm(dim=2))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_aol_convolutions_have_norm_at_most_one(stride, padding, generator):
    layer = nn.Conv2d(3, 4, 3, stride=stride, padding=padding)
    layer = shaken(register_parametrization(layer, "weight", AOL()), generator)
    assert norm_of(layer, 3, 6, 6) <= 1 + 1e-9


def test_aol_is_exact_for_orthogonal_channels_and_keeps_dead_ones():
    layer = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 1, 1] = 5.0
    register_parametrization(layer, "weight", AOL())
    assert norm_of(layer, 2, 4, 4) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("after", "before"), [(6, 6), (9, 4), (4, 9)])
@pytest.mark.parametrize("kind", [nn.Linear, partial(nn.Conv2d, kernel_size=1)])
def test_cayley_matrices_are_orthonormal(kind, after, before, generator):
    layer = register_parametrization(kind(before, after), "weight", Cayley())
    matrix = shaken(layer, generator).double().weight.flatten(1)
    gram = matrix.T @ matrix if after >= before else matrix @ matrix.T
    assert torch.allclose(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-12)


def test_a_residual_block_is_the_sum_it_stands_for_and_its_kernel_follows_the_weights(generator):
    block = shaken(LiResNetBlock(4, scale=0.5), generator)
    layer, images = block[0], torch.rand(2, 4, 5, 5, generator=generator)
    for factor in (1.0, 100.0):
        with torch.no_grad():
            layer.parametrizations.weight.original.mul_(factor)
        branch = layer.parametrizations.weight[0].gain * layer.parametrizations.weight.original
        expected = images + 0.5 * nn.functional.conv2d(images, branch, padding=1)
        expected = expected + layer.bias.view(1, -1, 1, 1)
        assert torch.allclose(layer(images), expected, rtol=1e-4, atol=1e-4)
        assert type(layer).forward is nn.Conv2d.forward
    assert norm_of(layer, 4, 5, 5) > 50


def test_unit_rows(generator):
    weight = torch.randn(3, 5, generator=generator)
    assert torch.allclose(UnitRows()(weight).norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        ("gloro-mlp", {"inputs": 4, "hidden": (3,)}, "even"),
        ("gloro-4c3f", {"size": 2}, "at least 4"),
        ("liresnet", {"size": 4}, "at least 8"),
        ("lipnext", {"size": 9}, "patch"),
    ],
)
def test_arguments_that_do_not_fit_are_named(name, arguments, what):
    with pytest.raises(ValueError, match=what):
        build(name, **arguments)
