"""Resizing and normalisation as part of the model, and weights that do not fit."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from surefoot.certify import lipschitz
from surefoot.guarantees import Local
from surefoot.models import (
    CenterCrop,
    Normalize,
    Preprocessing,
    Resize,
    build,
    load,
    open_model,
    save,
)
from surefoot.models.io import load_weights


def test_the_layers_do_what_they_say():
    images = torch.rand(2, 3, 6, 8)
    net = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), (12, 4)).before(nn.Identity())
    resized = functional.interpolate(images, (12, 4), mode="bilinear", antialias=True)
    wanted = (resized - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.2, 0.1]
    ).view(1, 3, 1, 1)
    assert torch.allclose(net(images), wanted, atol=1e-6)


def test_nothing_asked_changes_nothing():
    net = nn.Identity()
    assert Preprocessing().before(net) is net
    images = torch.rand(2, 1, 5, 5)
    assert Resize((5, 5))(images) is images


def test_the_shorter_side_and_the_middle():
    images = torch.rand(1, 1, 10, 20)
    assert Resize(5)(images).shape == (1, 1, 5, 10)
    assert torch.equal(CenterCrop((4, 6))(images), images[:, :, 3:7, 7:13])
    assert CenterCrop((12, 20))(images).shape == (1, 1, 12, 20)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 7)])
def test_features_and_signals_are_normalised_too(shape):
    images = torch.rand(shape)
    layer = Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    mean, deviation = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 4.0])
    if len(shape) == 3:
        mean, deviation = mean.view(3, 1), deviation.view(3, 1)
    assert torch.allclose(layer(images), (images - mean) / deviation)


def test_a_lipschitz_certificate_of_normalised_features_holds():
    net = nn.Sequential(Normalize((0.5, 0.5), (0.25, 0.5)), nn.Linear(2, 2)).eval()
    images = torch.rand(20, 2)
    found = lipschitz.certify(net, images, guarantee=Local())
    weight = net[1].weight / torch.tensor([0.25, 0.5])
    outcomes = net(images).detach()
    exact = (outcomes[:, 0] - outcomes[:, 1]).abs() / (weight[0] - weight[1]).norm()
    assert (found.radius <= exact * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5,)}, "belong together"),
        ({"std": (0.5,)}, "belong together"),
        ({"mean": (0.5,), "std": (0.0,)}, "above 0"),
        ({"resize": (1, 2, 3)}, "height and a width"),
        ({"resize": (0,)}, "height and a width"),
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_it_is_saved_with_a_net(tmp_path):
    net = build("lenet", size=16, normalize=((0.3,), (0.4,)), resize=(16, 16)).eval()
    save(net, tmp_path)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(load(tmp_path)(images), net(images))
    with pytest.raises(ValueError, match="holds its own preprocessing"):
        open_model(tmp_path, preprocessing=Preprocessing((0.3,), (0.4,)))


def small(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes))


def stored(tmp_path, net, rename=lambda name: name):
    path = tmp_path / "weights.safetensors"
    save_file({rename(name): value.clone() for name, value in net.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    "rename",
    [lambda name: f"module.{name}", lambda name: f"_orig_mod.{name}"],
    ids=["DataParallel", "compile"],
)
def test_a_prefix_is_named_and_its_remedy_works(rename, tmp_path, monkeypatch):
    path = stored(tmp_path, small(), rename)
    with pytest.raises(
        ValueError, match=r"4 missing: 1\.weight, 1\.bias, 3\.weight, \.\.\. \(4 in all\)"
    ) as caught:
        load_weights(small(), path)
    text = str(caught.value)
    assert "4 unexpected:" in text
    monkeypatch.chdir(tmp_path)
    exec("import safetensors.torch\n" + re.search(r"once more: (.*)$", text).group(1), {})
    load_weights(small(), tmp_path / "renamed.safetensors")


def test_a_net_inside_a_wrapper_is_named_and_its_remedy_works(tmp_path, monkeypatch):
    whole = nn.Sequential(nn.Identity(), small())
    path = stored(tmp_path, small())
    with pytest.raises(ValueError, match=r"as its part '1\.'") as caught:
        load_weights(whole, path)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"once more: (.*)$", str(caught.value)).group(1)
    exec("import safetensors.torch\n" + code, {})
    load_weights(whole, tmp_path / "renamed.safetensors")


def test_other_sizes_and_other_nets_are_told_apart(tmp_path):
    path = stored(tmp_path, small(5))
    message = r"2 of another shape: 3\.weight \(net 3 x 8, file 5 x 8\).*number of classes"
    with pytest.raises(ValueError, match=message):
        load_weights(small(), path)
    path = stored(tmp_path, build("lenet"))
    with pytest.raises(ValueError, match=r"missing: .*; .* unexpected: .*of another net"):
        load_weights(small(), path)
