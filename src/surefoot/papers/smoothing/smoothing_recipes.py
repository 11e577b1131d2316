"""Recipes for smoothing side by side: what their votes certify, and what attacks leave of it."""

from dataclasses import replace

from surefoot.attacks import VoteSearch
from surefoot.papers.experiment import Row, at_scales
from surefoot.papers.smoothed_accuracy import smoothed_accuracy
from surefoot.papers.smoothing.rejection_gains import (
    CIFAR,
    CIFAR_MEDIUM,
    FASHION,
    QUICK,
    SMOKE,
)
from surefoot.threat import Threat
from surefoot.training import Training, make_recipe

SIGMA = 0.25
NEAR = {"threat": Threat("l2", 2 * SIGMA), "sigma": SIGMA}
RECIPES = {
    "noise": make_recipe("noise", sigma=SIGMA),
    "consistency": make_recipe("consistency", sigma=SIGMA, weight=5.0),
    "SmoothAdv": make_recipe("smooth-adv", **NEAR),
    "CAT-RS": make_recipe("cat-rs", **NEAR, samples=2),
    "noise and UDP": make_recipe("noisy-udp", threat=Threat("l2", 4 * SIGMA), steps=4, sigma=SIGMA),
}
PUBLISHED = {
    "noise": (0.612, 0.422, 0.251),
    "consistency": (0.676, 0.581, 0.467),
    "SmoothAdv": (0.656, 0.57, 0.475),
    "CAT-RS": (0.681, 0.588, 0.482),
}
"""Certified accuracy of ResNet-110 on CIFAR-10 at `RADII`."""
RADII = (0.25, 0.5, 0.75)
ROWS = tuple(Row(name, recipe) for name, recipe in RECIPES.items())
COMPARED = tuple(
    replace(
        row,
        published={
            f"certified {radius:g}": known
            for radius, known in zip(RADII, PUBLISHED.get(row.name, ()), strict=False)
        },
    )
    for row in ROWS
)
SMALLEST = {"setting": SMOKE, "n_certify": 300, "radii": (0.25, 0.5), "search": QUICK}
FASHION_SMALL = replace(FASHION, train=10_000, test=200, training=Training(epochs=5))
SCALES = {
    "smoothing-recipes-fashion-mnist": at_scales(
        smoothed_accuracy,
        {"smoke": SMALLEST, "small": FASHION_SMALL, "paper": FASHION},
        rows=ROWS,
        sigma=SIGMA,
        n_certify=10_000,
        radii=RADII,
        search=VoteSearch(),
    ),
    "smoothing-recipes-cifar10": at_scales(
        smoothed_accuracy,
        {
            "smoke": {**SMALLEST, "rows": ROWS[:2]},
            "medium": {"setting": CIFAR_MEDIUM, "n_certify": 10_000},
            "paper": CIFAR,
        },
        rows=COMPARED,
        sigma=SIGMA,
        n_certify=100_000,
        radii=RADII,
        search=VoteSearch(),
    ),
}
