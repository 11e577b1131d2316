"""Certificates, attacks and records of inputs that have another box than [0, 1], or none."""

import math

import pytest
import torch
from torch import nn

from surefoot import Data, Local, Plain, Smoothed, Threat, Vote, bracket
from surefoot.attacks import apgd, break_guarantee, fgsm, pgd, square
from surefoot.certify import lipschitz, smoothing
from surefoot.evaluation.record import read

INF = math.inf


def net(seed: int = 0, scale: float = 1.0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        layers[0].weight *= scale
    return layers.eval()


def features(count: int = 40, size: float = 20.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1)) * size


@pytest.mark.parametrize("wide", [1e3, 1e6])
def test_lipschitz_radii_without_a_box_are_those_in_a_wide_one(wide):
    without = lipschitz.certify(net(), features(), guarantee=Local(), value_range=None)
    boxed = lipschitz.certify(net(), features(), guarantee=Local(), value_range=(-wide, wide))
    assert without.radius.min() > 0
    assert torch.equal(without.radii, boxed.radii)


def test_lipschitz_radii_grow_with_the_unit():
    """The same net on inputs in [0, 1] and in [0, 255]: radii are in the unit of the input."""
    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    small = lipschitz.certify(net(), x, guarantee=Local()).radius
    scaled = net(scale=1 / 255)
    large = lipschitz.certify(scaled, 255 * x, guarantee=Local(), value_range=(0, 255)).radius
    torch.testing.assert_close(large, 255 * small, rtol=1e-3, atol=0)


def test_a_net_that_nothing_changes_has_huge_radii():
    constant = nn.Linear(6, 3)
    nn.init.zeros_(constant.weight)
    with torch.no_grad():
        constant.bias.copy_(torch.tensor([1.0, 0, 0]))
    x = torch.rand(2, 6)
    for box in ((0, 1), None):
        found = lipschitz.certify(constant, x, guarantee=Local(), value_range=box).radius
        assert bool((found > 1e6).all())


def test_smoothing_needs_no_box():
    how = {"guarantee": Local(), "sigma": 5.0, "n_certify": 2000, "seed": 0}
    found = smoothing.certify(net(), features(), value_range=None, **how)
    boxed = smoothing.certify(net(), features(), value_range=(-1000, 1000), **how)
    assert found.radius.max() > 1
    assert torch.equal(found.radii, boxed.radii)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\].*value_range of the data or the cert"):
        smoothing.certify(net(), features(), **how)


def test_infinite_values_are_no_images_even_without_a_box():
    x = features(3)
    x[1, 2] = INF
    with pytest.raises(ValueError, match="NaN or an infinity"):
        lipschitz.certify(net(), x, guarantee=Local(), value_range=None)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_without_a_box_find_what_they_find_in_a_wide_one(norm):
    x, eps = features(), 4.0 if norm == "linf" else 8.0
    labels = net()(x).argmax(1)
    free = Threat(norm, eps, -INF, INF)
    boxed = Threat(norm, eps, -1000.0, 1000.0)
    how = {"steps": 20, "step_size": eps / 8}
    ours, theirs = (pgd(net(), x, labels, threat=one, **how) for one in (free, boxed))
    assert torch.equal(ours, theirs)
    assert bool(free.inside(ours, x).all())
    assert free.distance(ours, x).max() > 0.999 * eps
    broken = break_guarantee(net(), x, guarantee=Local(), threat=free, steps=20)
    assert broken.success.any()
    assert bool(free.inside(broken.images, x).all())
    for attack in (fgsm, apgd, square):
        found = attack(net(), x, labels, threat=free)
        assert bool(free.inside(found, x).all())
        assert bool(found.isfinite().all())


def test_certified_is_at_most_attacked_and_the_record_can_be_read(tmp_path):
    x = features()
    data = Data(x, net()(x).argmax(1), value_range=None, name="free")
    threat = Threat("l2", 1.0, *data.box)
    radii = (0.5, 1.0, 4.0, 16.0)
    model = Plain(net(), "lipschitz", steps=20)
    kept = {"threat": threat, "radii": radii, "guarantee": Local(), "folder": tmp_path}
    record = bracket(model, data, **kept)
    rows = record.rows
    assert bool((rows["certified"] <= rows["nearest"].fillna(INF)).all())
    assert 0 < (rows["certified"] >= 1.0).mean() < 1
    assert (rows["attacked"] <= 16).mean() > 0
    again = read(tmp_path)
    assert (again.header.threat.low, again.header.threat.high) == (-INF, INF)
    assert again.header.unit() == "\u2113₂, in units of the features"
    assert '"low": "-inf"' in (tmp_path / "record.json").read_text()
    assert bracket(model, data, **kept).rows.equals(rows)  # read back, not evaluated again


def test_a_smoothed_classifier_without_a_box():
    x = features(20)
    data = Data(x, net()(x).argmax(1), value_range=None)
    smoothed = Smoothed(Vote(net(), 5.0), n_certify=500)
    record = bracket(smoothed, data, guarantee=Local(), threat=Threat("l2", 2.0, *data.box))
    assert record.rows["certified"].max() > 1
