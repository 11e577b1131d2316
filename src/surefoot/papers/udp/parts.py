"""What the experiments of Pagliardini et al. 2022 share: ways to write rows, the smallest size."""

from typing import Any

from surefoot.papers.experiment import Setting
from surefoot.threat import Threat
from surefoot.training import Recipe, Training, make_recipe

SMALLER = "Scale small: fewer images, epochs and test images than published. "
SMOKE = Setting(
    data="digits",
    train=200,
    test=20,
    training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
    net={"name": "lenet", "size": 8},
    protocol="margins",
    steps=5,
)


def percent(**figures: float) -> dict[str, float]:
    """Turn `clean=78.9, linf_05=73.9` into {"clean": .789, "linf 0.05": .739}."""
    names = {"clean": "clean", "linf": "linf 0.", "l2": "l2 "}
    found = {}
    for key, value in figures.items():
        norm, _, radius = key.partition("_")
        found[names[norm] + radius.replace("_", ".")] = round(value / 100, 4)
    return found


def linf(name: str, eps: float, step_size: float, steps: int, **options: Any) -> Recipe:
    """Return a recipe as the paper writes its settings: eps / step_size / steps."""
    return make_recipe(
        name, threat=Threat("linf", eps), steps=steps, step_size=step_size, **options
    )


ASCENT = {"start": "origin"}
"""PGD from the image itself, as in the paper."""
SOFT = {"weight": 1.0, "form": "soft-cross-entropy"}
"""The TRADES of the paper's tables."""
