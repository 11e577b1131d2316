"""Initial weights and penalty of interval training, and the recipes end to end."""

import json
import math
import shutil

import pytest
import torch
from torch import nn

from surefoot.certify.relaxation import certify
from surefoot.cli import main
from surefoot.data import load
from surefoot.guarantees import Local
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe, state
from surefoot.training.interval_bounds import interval_bounds
from surefoot.training.live_net import LiveNet
from surefoot.training.stabilisers import initialise, instability
from surefoot.training.surroundings import BallRegion


def deep():
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 4))


def widths(net, images):
    live = LiveNet(net, (256,))
    region = BallRegion(images, images, Threat("linf", 0.01), 1.0)
    rules = live.rules({})
    known = interval_bounds(live, rules, region)
    steps = [step for step in live.graph.steps if isinstance(step.layer, nn.ReLU)]
    found = [known[step.sources[0]] for step in steps]
    return [(one.upper - one.lower).mean().item() for one in found], instability(live, rules, known)


def test_initial_weights_keep_the_width_of_bounds(generator):
    net, images = deep(), 0.5 + 0.1 * torch.rand(8, 256, generator=generator)
    usual, _ = widths(net, images)
    initialise(net, generator)
    found, _ = widths(net, images)
    assert usual[-1] / usual[0] > 100
    assert 0.5 < found[-1] / found[0] < 2
    weight = net[0].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 * math.pi) / 256, rel=0.02)
    assert not net[0].bias.any()


def test_the_penalty_by_hand():
    """One image, one ReLU layer: widths 0.2 and 0.8, one unit certainly on, one certainly off."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 4.0]]))
        net[0].bias.copy_(torch.tensor([0.0, -3.0]))
    images = torch.tensor([[0.5, 0.5]])  # centers 2 and -1, half-widths 0.4
    live, region = LiveNet(net, (2,)), BallRegion(images, images, Threat("linf", 0.1), 0.5)
    rules = live.rules({})
    found = instability(live, rules, interval_bounds(live, rules, region))
    width, center = 0.2 / 0.8, 1 / 2  # the variances about the mean 0.5 are alike: 1.5 each
    torch.testing.assert_close(found, torch.tensor((0.5 - width + 0.5 - center + 0) / 0.5))
    found.backward()
    assert bool(net[0].weight.grad.isfinite().all())


EPS = 0.05


def run(recipe, folder, data, epochs=6):
    torch.manual_seed(0)
    net = build("mlp", inputs=64, hidden=(32, 32))
    training = Training(epochs=epochs, batch_size=50, learning_rate=5e-3, schedule="constant")
    fit(net, data, recipe, folder, training=training)
    return net


def certified(net):
    images, labels = load("digits").batch(slice(0, 100))
    how = {"guarantee": Local(), "threat": Threat("linf", EPS), "radii": [EPS]}
    found = certify(net, images, effort="ibp", **how).radius > 0
    return int((found & (net(images).argmax(1) == labels)).sum())


@pytest.fixture(scope="module")
def data():
    return load("digits", "train").first(500)


@pytest.fixture(scope="module")
def usual(data, tmp_path_factory):
    recipe = make_recipe("pgd", threat=Threat("linf", EPS), steps=2)
    return certified(run(recipe, tmp_path_factory.mktemp("pgd"), data))


@pytest.mark.parametrize("name", ["ibp", "crown-ibp", "sabr", "mtl-ibp"])
def test_training_certifies_more_than_pgd(name, usual, data, tmp_path):
    options = {"steps": 2} if name in ("sabr", "mtl-ibp") else {}
    recipe = make_recipe(name, threat=Threat("linf", EPS), **options)
    assert certified(run(recipe, tmp_path, data)) > usual + 10


def test_a_killed_training_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    recipe = make_recipe("sabr", threat=Threat("linf", EPS), steps=2)
    few = load("digits", "train").first(100)
    net, real, kept = run(recipe, tmp_path / "whole", few, 3), state.store, tmp_path / "state"

    def store(folder, progress, run):
        real(folder, progress, run)
        if len(progress.log) == 2:
            shutil.copy(folder / state.NAME, kept)

    monkeypatch.setattr(state, "store", store)
    run(recipe, tmp_path / "killed", few, 3)
    shutil.rmtree(tmp_path / "killed")
    (tmp_path / "killed").mkdir()
    shutil.copy(kept, tmp_path / "killed" / state.NAME)
    again = run(recipe, tmp_path / "killed", few, 3)
    pairs = zip(net.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_from_the_command_line(tmp_path):
    words = "--count 100 --epochs 1 --net mlp --hidden 16 --eps 0.1"
    main(["train", "sabr", *words.split(), "--fraction", "0.5", "--folder", str(tmp_path / "a")])
    kept = json.loads((tmp_path / "a" / "config.json").read_text())
    assert kept["recipe"]["perturbation"]["fraction"] == 0.5
    more = ["relaxed-top-k", "--k", "2", "--warm-up", "0.1"]
    main(["train", "ibp", *more, *words.split(), "--folder", str(tmp_path / "b")])
    kept = json.loads((tmp_path / "b" / "config.json").read_text())
    assert kept["recipe"]["loss"]["guarantee"] == {"name": "RelaxedTopK", "k": 2}
    assert kept["recipe"]["perturbation"]["ramp"]["warm_up"] == 0.1
    groups = ["--groups", "0,1,2;3,4,5"]
    main(["train", "ibp", *words.split(), *groups, "--folder", str(tmp_path / "c")])
    kept = json.loads((tmp_path / "c" / "config.json").read_text())
    assert kept["recipe"]["loss"]["guarantee"]["name"] == "Affinity"
