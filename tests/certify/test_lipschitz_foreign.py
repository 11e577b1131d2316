"""Layers of other libraries: their weights are measured, whatever they promise."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from surefoot.certify.lipschitz import certify, pairwise
from surefoot.guarantees import Local

torchlip = pytest.importorskip("deel.torchlip", reason="extra lipschitz")
orthogonium = pytest.importorskip("orthogonium.layers", reason="extra lipschitz")


def dense():
    return nn.Sequential(
        nn.Flatten(),
        torchlip.SpectralLinear(128, 16),
        torchlip.GroupSort2(),
        torchlip.SpectralLinear(16, 12),
        torchlip.FullSort(),
        torchlip.FrobeniusLinear(12, 4),
    )


def pooled():
    return nn.Sequential(
        torchlip.SpectralConv2d(2, 4, 3, padding=1),
        torchlip.GroupSort(4),
        torchlip.ScaledAvgPool2d(2),
        torchlip.SpectralConv2d(4, 4, 3, padding=1, padding_mode="circular"),
        torchlip.ScaledL2NormPool2d(2),
        torchlip.ScaledAdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        torchlip.SpectralLinear(4, 4),
    )


def orthogonal():
    return nn.Sequential(
        orthogonium.AdaptiveOrthoConv2d(2, 8, 3, padding=1),
        orthogonium.MaxMin(),
        orthogonium.AdaptiveOrthoConv2d(8, 8, 4, stride=2, padding=1),
        orthogonium.Abs(),
        nn.Flatten(),
        orthogonium.OrthoLinear(128, 4),
    )


def settled(model):
    """Fix weights that go on changing: orthogonium iterates a little in each call."""
    for layer in model.modules():
        for name in list(getattr(layer, "parametrizations", {})):
            parametrize.remove_parametrizations(layer, name)
    return model


@pytest.mark.parametrize("make", [dense, pooled, lambda: settled(orthogonal())])
@pytest.mark.filterwarnings("ignore")
def test_their_nets_are_bounded_and_close_to_what_they_promise(make, generator):
    torch.manual_seed(0)
    model = make().eval()
    bound = pairwise(model, (2, 8, 8))
    points = torch.rand(40, 2, 8, 8, generator=generator)
    one = torch.autograd.functional.jacobian
    jacobian = torch.stack([one(lambda x: model(x[None])[0], x) for x in points])
    jacobian = jacobian.flatten(2).double()
    found = (jacobian.unsqueeze(2) - jacobian.unsqueeze(1)).norm(dim=3).amax(0)
    assert bool((found <= bound * (1 + 1e-5)).all())
    # Every pair of 1-Lipschitz logits has a constant of at most 2.
    assert bound.amax() <= 2 * (1 + 1e-3)
    assert bool((certify(model, points, guarantee=Local()).radius > 0).any())


@pytest.mark.filterwarnings("ignore")
def test_weights_that_change_in_each_call_are_refused(generator):
    with pytest.raises(ValueError, match="remove_parametrizations"):
        certify(orthogonal(), torch.rand(3, 2, 8, 8, generator=generator), guarantee=Local())


@pytest.mark.filterwarnings("ignore")
def test_a_weight_changed_behind_their_back_is_measured():
    model = orthogonal().eval()
    before = pairwise(model, (2, 8, 8))
    loud = nn.Linear(128, 4)
    loud.weight.data = 100 * model[-1].weight.detach()
    model[-1] = loud
    assert torch.allclose(pairwise(model, (2, 8, 8)), 100 * before, rtol=1e-4)


def test_symmetric_padding_is_refused():
    layer = torchlip.SpectralConv2d(1, 2, 5, padding=2, padding_mode="symmetric")
    with pytest.raises(ValueError, match="symmetric"):
        pairwise(nn.Sequential(layer, nn.Flatten()), (1, 8, 8))


def test_sorting_along_the_batch_is_refused():
    model = nn.Sequential(nn.Flatten(), orthogonium.MaxMin(axis=0))
    with pytest.raises(ValueError, match="any number of them, and one alone"):
        pairwise(model, (1, 2, 2))


def test_norms_over_windows_that_overlap_are_refused():
    layer = torchlip.ScaledL2NormPool2d(2)
    layer.stride = 1
    with pytest.raises(ValueError, match="overlap"):
        pairwise(nn.Sequential(layer, nn.Flatten()), (1, 4, 4))
