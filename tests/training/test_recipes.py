"""Recipes against each other (special cases) and from the command line."""

import json

import pytest
import torch

from surefoot.cli import main
from surefoot.models import build
from surefoot.threat import Threat
from surefoot.training import RECIPES, make_recipe

THREAT = Threat("linf", 0.1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("mlp", inputs=64, hidden=(32,)).eval()


@pytest.fixture
def images(generator):
    return torch.rand(16, 64, generator=generator)


def perturbed(recipe, model, images):
    return recipe.perturb(model, images, model(images).argmax(1), torch.Generator().manual_seed(2))


SAME = [
    (
        "n-fgsm without noise",
        make_recipe("n-fgsm", threat=THREAT, spread=0.0),
        make_recipe("fgsm", threat=THREAT),
    ),
    (
        "pgd of one full step",
        make_recipe("pgd", threat=THREAT, steps=1, step_size=0.1, start="origin"),
        make_recipe("fgsm", threat=THREAT),
    ),
    (
        "r-fgsm",
        make_recipe("r-fgsm", threat=THREAT),
        make_recipe("pgd", threat=THREAT, steps=1, step_size=0.125),
    ),
    (
        "mart",
        make_recipe("mart", threat=THREAT, steps=3),
        make_recipe("pgd", threat=THREAT, steps=3),
    ),
    (
        "friendly with endless patience",
        make_recipe("fat", threat=THREAT, steps=3, extra_steps=99),
        make_recipe("pgd", threat=THREAT, steps=3),
    ),
    (
        "udpr",
        make_recipe("udpr", threat=THREAT, steps=3),
        make_recipe("udp", threat=THREAT, steps=3),
    ),
    (
        "udp-trades",
        make_recipe("udp-trades", threat=THREAT, steps=3),
        make_recipe("udp", threat=THREAT, steps=3),
    ),
]


@pytest.mark.parametrize(("one", "other"), [case[1:] for case in SAME], ids=[c[0] for c in SAME])
def test_special_cases_give_the_same_images(one, other, model, images):
    found = perturbed(one, model, images)
    assert torch.equal(found, perturbed(other, model, images))
    assert not torch.equal(found, images)


def test_n_fgsm_leaves_the_ball_but_not_by_more_than_its_noise(model, images):
    found = perturbed(make_recipe("n-fgsm", threat=THREAT, spread=2.0), model, images)
    distance = THREAT.distance(found, images)
    assert bool((distance > THREAT.eps).all())
    assert bool((distance <= 3 * THREAT.eps + 1e-6).all())
    assert 0 <= found.min().item() <= found.max().item() <= 1


def test_friendly_images_are_just_behind_the_boundary_and_pgd_goes_on(model, images):
    far = Threat("linf", 0.5)
    labels = model(images).argmax(1)
    friendly = perturbed(
        make_recipe("fat", threat=far, steps=40, step_size=0.0125, extra_steps=0, start="origin"),
        model,
        images,
    )
    fierce = perturbed(
        make_recipe("pgd", threat=far, steps=40, step_size=0.0125, start="origin"), model, images
    )
    lead = [
        (model(x).gather(1, labels[:, None])[:, 0] - model(x).amax(1)) for x in (friendly, fierce)
    ]
    assert bool((lead[0] < 0).all())
    assert bool((lead[1] < lead[0]).all())


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_trains_from_the_command_line(name, tmp_path, capsys):
    main(
        [
            *("train", name, "--data", "digits", "--count", "48", "--net", "mlp"),
            *("--hidden", "8", "--epochs", "1", "--folder", str(tmp_path / "net")),
        ]
    )
    assert "model:" in capsys.readouterr().out
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["recipe"]["name"] == name
    if name == "udp-bt":
        assert config["recipe"]["perturbation"]["step_rule"] == "backtracking"


def test_every_option_has_a_flag(tmp_path, capsys):
    main(
        [
            *("train", "udpr", "--count", "64", "--net", "lenet", "--epochs", "2"),
            *(
                "--eps",
                "0.2",
                "--steps",
                "2",
                "--weight",
                "0.5",
                "--layer",
                "5",
                "--unit",
                "typical",
            ),
            *("--schedule", "multistep", "--milestones", "0.5", "--label-smoothing", "0.1"),
            *("--ema", "0.9", "--weight-radius", "0.01", "--crop", "1", "--flip"),
            *("--perturb-every", "2", "--validation", "16", "--validation-seed", "3"),
            *("--judge-eps", "0.1", "--judge-steps", "2", "--patience", "5"),
            *("--folder", str(tmp_path)),
        ]
    )
    assert "best epoch:" in capsys.readouterr().out
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["recipe"]["perturbation"]["space"] == {
        "name": "Space",
        "layer": "5",
        "unit": "typical",
    }
    assert config["data"]["count"] == 48
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"validation_accuracy", "validation_attacked_accuracy"} <= set(last)
