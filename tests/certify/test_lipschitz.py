"""Pairwise constants: never below the truth, tight where they can be, refused if unknown."""

import pytest
import torch
from oracles import members_of
from torch import nn

from surefoot.attacks import break_guarantee
from surefoot.certify.lipschitz import certify, pairwise, spectral_norm_bound
from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import LipschitzMLP, MinMax, Normalize, Scale, build
from surefoot.threat import Threat
from surefoot.uncertainty import Selective


def hidden_direction(size):
    """One singular value 1, the rest .9: a power iteration from a bad start misses it."""
    q, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(2)))
    values = torch.full((size,), 0.9)
    values[-1] = 1.0
    return (q * values) @ q.T


def ones_start(size):
    """Orthogonal to the all-ones vector: a power iteration from ones returns 0."""
    matrix = torch.zeros(size, size)
    matrix[0, 0], matrix[0, 1] = 1.0, -1.0
    return matrix


@pytest.mark.parametrize("shape", [(512, 512), (128, 64), (10, 300), (1, 5), (7, 1)])
def test_norm_bounds_lie_above_the_truth_by_a_billionth_at_most(shape, generator):
    for scale in (1.0, 1e-6, 1e6):
        matrix = scale * torch.randn(shape, generator=generator)
        truth = torch.linalg.svdvals(matrix.double())[0].item()
        bound = spectral_norm_bound(matrix).item()
        assert truth <= bound <= truth * (1 + 1e-9)


@pytest.mark.parametrize("make", [hidden_direction, ones_start, torch.zeros, torch.eye])
def test_norm_bounds_of_matrices_made_to_deceive(make):
    matrix = make(64) if make is not torch.zeros else torch.zeros(64, 64)
    truth = torch.linalg.matrix_norm(matrix.double(), 2).item()
    bound = spectral_norm_bound(matrix).item()
    assert truth <= bound <= truth + 1e-6


def test_a_bad_decomposition_only_loosens_the_bound(monkeypatch):
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0])).double()
    u, s, vh = torch.linalg.svd(matrix)
    monkeypatch.setattr(torch.linalg, "svd", lambda *a, **k: (0.9 * u, 0.8 * s, vh))
    assert spectral_norm_bound(matrix).item() >= 3.0


def test_a_single_dense_layer_is_exact(generator):
    layer = nn.Linear(6, 4)
    found = pairwise(nn.Sequential(nn.Flatten(), layer))
    truth = torch.cdist(
        layer.weight.double(), layer.weight.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert bool((found >= truth * (1 - 1e-15)).all())
    assert torch.allclose(found, truth.detach(), rtol=1e-12)
    assert found.dtype == torch.float64


def make_net():
    torch.manual_seed(1)
    return nn.Sequential(
        Normalize((0.5,), (0.25,)),
        nn.Flatten(),
        nn.Linear(16, 12),
        MinMax(),
        nn.Linear(12, 8),
        nn.ReLU(),
        nn.Linear(8, 5),
        Scale(3.0),
    ).eval()


def test_no_pair_of_points_climbs_faster_than_the_bound(generator):
    model = make_net()
    constants = pairwise(model)
    x = torch.rand(500, 1, 4, 4, generator=generator).double()
    y = x + 0.01 * torch.randn(x.shape, generator=generator).double()
    model = model.double()
    difference = (model(x) - model(y)).detach()
    slope = (difference[:, :, None] - difference[:, None, :]).abs()
    slope = slope / (x - y).flatten(1).norm(dim=1).view(-1, 1, 1)
    assert bool((slope.amax(0) <= constants).all())


def test_constants_follow_the_weights(generator):
    model = make_net()
    before = pairwise(model)
    with torch.no_grad():
        model[2].weight *= 100
    assert torch.allclose(pairwise(model), 100 * before)


def test_orthogonal_nets_are_tight():
    model = LipschitzMLP(64, (32, 32), 10, scale=1.0)
    off_diagonal = pairwise(model)[~torch.eye(10, dtype=torch.bool)]
    assert torch.allclose(off_diagonal, torch.tensor(2.0).sqrt().double(), atol=1e-5)


GUARANTEES = [Local(), TopK(2), RelaxedTopK(3), Affinity(((0, 1), (2, 3, 4)))]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=repr)
def test_no_attack_succeeds_inside_a_certified_radius(guarantee, generator):
    model = make_net()
    images = torch.rand(20, 1, 4, 4, generator=generator)
    found = certify(model, images, guarantee=guarantee)
    assert found.radii.shape == found.sets.shape[:2]
    assert bool((found.radius == found.radii.max(1).values).all())
    assert bool((found.radius > 0).any())
    for image, sets, radii in zip(images, found.sets, found.radii, strict=True):
        for members, radius in zip(sets, radii.tolist(), strict=True):
            if radius > 0:
                assert members_of(members)
        if found_radius := radii.max().item():
            threat = Threat("l2", found_radius)
            result = break_guarantee(
                model, image[None], guarantee=guarantee, threat=threat, steps=5
            )
            assert not bool(result.success.any())


class Louder(nn.Sequential):
    def forward(self, images):
        return 10 * super().forward(images)


class FastReLU(nn.ReLU):
    def forward(self, features):
        return 5 * features.relu()


def with_hook(kind):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    if kind == "hook":
        model[1].register_forward_hook(lambda module, inputs, output: 10 * output)
    elif kind == "pre-hook":
        model.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
    else:
        model[1].forward = lambda features: 10 * features[:, :4]
    return model


@pytest.mark.parametrize(
    "model",
    [
        Louder(nn.Flatten(), nn.Linear(16, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 16), FastReLU(), nn.Linear(16, 4)),
        with_hook("hook"),
        with_hook("pre-hook"),
        with_hook("patched"),
    ],
    ids=["own forward", "own activation", "hook", "pre-hook", "patched"],
)
def test_what_computes_something_else_is_not_taken_for_its_kind(model):
    with pytest.raises(ValueError, match=r"no Lipschitz bound|no dense layer"):
        pairwise(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), "layer Conv2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh()), "Tanh"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU()), "after the last dense layer"),
        (nn.Sequential(nn.Flatten()), "no dense layer"),
        (Selective(build("mlp", inputs=16), "entropy", 0.5), "how it rejects"),
        (lambda x: x, "needs an nn.Module"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_bound_is_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        pairwise(model)


def test_label_or_uncertain_needs_a_selective_model():
    with pytest.raises(ValueError, match="rejects = True"):
        certify(make_net(), torch.rand(1, 1, 4, 4), guarantee=LabelOrUncertain())
