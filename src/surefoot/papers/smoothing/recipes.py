"""Recipes for smoothing side by side: what their votes certify, and what attacks leave of it."""

from dataclasses import replace

from surefoot.attacks import VoteSearch
from surefoot.papers.experiment import Experiment, Row, at_scales
from surefoot.papers.smoothing.rejection import CIFAR, FASHION, QUICK, SMOKE
from surefoot.papers.voting import voting
from surefoot.threat import Threat
from surefoot.training import Recipe, Training, make_recipe

COHEN = {"certified 0.25": 0.612, "certified 0.5": 0.422, "certified 0.75": 0.251}
SMOOTHADV = {"certified 0.25": 0.656, "certified 0.5": 0.57, "certified 0.75": 0.475}
CONSISTENCY = {"certified 0.25": 0.676, "certified 0.5": 0.581, "certified 0.75": 0.467}
CAT_RS = {"certified 0.25": 0.681, "certified 0.5": 0.588, "certified 0.75": 0.482}


def rows(sigma: float, *, published: bool = False) -> tuple[Row, ...]:
    """Return the recipes at this noise; published figures are those of CIFAR-10, ResNet-110."""
    known = (COHEN, CONSISTENCY, SMOOTHADV, CAT_RS, {})
    near = Threat("l2", 2 * sigma)
    recipes: dict[str, Recipe] = {
        "noise": make_recipe("noise", sigma=sigma),
        "consistency": make_recipe("consistency", sigma=sigma, weight=5.0),
        "SmoothAdv": make_recipe("smooth-adv", threat=near, sigma=sigma),
        "CAT-RS": make_recipe("cat-rs", threat=near, sigma=sigma, samples=2),
        "noise and UDP": make_recipe(
            "noisy-udp", threat=Threat("l2", 4 * sigma), steps=4, sigma=sigma
        ),
    }
    pairs = zip(recipes.items(), known, strict=True)
    return tuple(Row(name, recipe, found if published else {}) for (name, recipe), found in pairs)


FASHION_SMALL = replace(FASHION, train=10_000, test=200, training=Training(epochs=5))
COARSE = (0.25, 0.5, 0.75)
EXPERIMENTS = {
    "smoothing-recipes-fashion-mnist": Experiment(
        source="Recipes for smoothing: Fashion-MNIST, LeNet, sigma 0.25",
        remark="Light forms of SmoothAdv and CAT-RS, see docs/training.md. Scale small: 10,000"
        " images, 5 epochs, 200 test images, at most 10,000 samples a decision.",
        scales=at_scales(
            voting,
            {"smoke": SMOKE},
            rows=rows(0.25),
            sigma=0.25,
            n_certify=300,
            radii=(0.25, 0.5),
            search=QUICK,
        )
        | at_scales(
            voting,
            {"small": FASHION_SMALL, "paper": FASHION},
            rows=rows(0.25),
            sigma=0.25,
            n_certify=10_000,
            radii=COARSE,
            search=VoteSearch(),
        ),
    ),
    "smoothing-recipes-cifar10": Experiment(
        source="Recipes for smoothing: CIFAR-10, sigma 0.25, beside published ResNet-110",
        remark="Published: certified accuracy of ResNet-110 on all test images, 100,000 samples,"
        " recomputed from the logs of the CAT-RS authors. Only scale paper compares with it.",
        scales=at_scales(
            voting,
            {"smoke": SMOKE},
            rows=rows(0.25)[:2],
            sigma=0.25,
            n_certify=300,
            radii=(0.25, 0.5),
            search=QUICK,
        )
        | at_scales(
            voting,
            {"paper": CIFAR},
            rows=rows(0.25, published=True),
            sigma=0.25,
            n_certify=100_000,
            radii=COARSE,
            search=VoteSearch(),
        ),
    ),
}
