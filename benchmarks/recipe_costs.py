"""What an epoch of each recipe costs: CPU seconds for 1,000 images, one thread.

    SUREFOOT_DATA=... python benchmarks/recipe_costs.py

LeNet on Fashion-MNIST and ResNet-20 on CIFAR-10. Rows go to results/recipe_costs.jsonl.
"""

import tempfile
import time
from dataclasses import dataclass

import rows
import torch
import tyro

from surefoot import Training, build, fit, load
from surefoot.threat import Threat
from surefoot.training import make_recipe

NETS = {"lenet": ("fashion-mnist", 0.1), "resnet20": ("cifar10", 8 / 255)}
STEPPED = ("pgd", "trades", "udp")
SIGMA = ("noise", "consistency")


@dataclass(frozen=True)
class Options:
    """How much.

    Args:
        images: training images of the one epoch that is measured.
        steps: of recipes that search.
        recipes: which.
    """

    images: int = 500
    steps: int = 10
    recipes: tuple[str, ...] = ("standard", "noise", "fgsm", "pgd", "trades", "udp", "consistency")


def recipe_of(name: str, eps: float, steps: int):
    """Return a recipe with the settings that are named in its row."""
    if name == "standard":
        return make_recipe(name), {}
    if name in SIGMA:
        return make_recipe(name, sigma=0.25), {"sigma": 0.25}
    searched = {"steps": steps} if name in STEPPED else {}
    return make_recipe(name, threat=Threat("linf", eps), **searched), {"eps": eps, **searched}


def one_epoch(model, data, recipe) -> None:
    """Train for one epoch and forget it."""
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, recipe, training=Training(epochs=1), folder=folder)


def main(options: Options) -> None:
    """Train one epoch with each recipe on each net."""
    torch.set_num_threads(1)
    for net, (name, eps) in NETS.items():
        data = load(name, "train").first(options.images)
        planes = data.inputs(slice(0, 1)).shape[1]
        one_epoch(build(net, planes=planes), data, make_recipe("standard"))  # the first is slower
        for asked in options.recipes:
            recipe, settings = recipe_of(asked, eps, options.steps)
            torch.manual_seed(0)
            model = build(net, planes=planes)
            began = time.process_time()
            one_epoch(model, data, recipe)
            seconds = (time.process_time() - began) * 1000 / options.images
            row = {"net": net, "data": name, "recipe": asked, **settings}
            row |= {"images": options.images, "cpu_seconds_for_1000": round(seconds, 2)}
            rows.append("recipe_costs", row)
            print(row, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
