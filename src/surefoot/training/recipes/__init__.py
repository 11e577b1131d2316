"""Recipes: small frozen records, one a method; each says where to train and which loss to take.

`plain` does not search, `one_step` takes one gradient, `loss_driven` climbs the loss,
`uncertainty` climbs the uncertainty, `smoothing` sees several noise samples, `lipschitz` uses
Lipschitz constants, `several` lets recipes take turns. Searches run in eval mode with gradients
for the images only.
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from typing import Any

from surefoot.guarantees import Guarantee
from surefoot.training.recipe import Recipe
from surefoot.training.recipes.lipschitz import GloRo
from surefoot.training.recipes.loss_driven import FAT, MART, MMA, PGD, TRADES
from surefoot.training.recipes.one_step import FGSM, NFGSM, RFGSM
from surefoot.training.recipes.plain import MaxE, Noise, Standard
from surefoot.training.recipes.several import Alternating
from surefoot.training.recipes.smoothing import CATRS, Consistency, NoisyUDP, SmoothAdv
from surefoot.training.recipes.uncertainty import UDP, UDPR, UDPTRADES

RECIPES: dict[str, Callable[..., Recipe]] = {
    "standard": Standard,
    "maxe": MaxE,
    "noise": Noise,
    "fgsm": FGSM,
    "r-fgsm": RFGSM,
    "n-fgsm": NFGSM,
    "pgd": PGD,
    "fat": FAT,
    "trades": TRADES,
    "mart": MART,
    "mma": MMA,
    "udp": UDP,
    "udp-bt": partial(UDP, step_rule="backtracking"),
    "udpr": UDPR,
    "udp-trades": UDPTRADES,
    "consistency": Consistency,
    "smooth-adv": SmoothAdv,
    "cat-rs": CATRS,
    "noisy-udp": NoisyUDP,
    "gloro": GloRo,
}

__all__ = [
    "CATRS",
    "FAT",
    "FGSM",
    "MART",
    "MMA",
    "NFGSM",
    "PGD",
    "RECIPES",
    "RFGSM",
    "TRADES",
    "UDP",
    "UDPR",
    "UDPTRADES",
    "Alternating",
    "Consistency",
    "GloRo",
    "MaxE",
    "Noise",
    "NoisyUDP",
    "SmoothAdv",
    "Standard",
    "described",
    "name_of",
]


def name_of(recipe: Recipe) -> str:
    """Return the name of a recipe in `RECIPES`, or its class in lower case."""
    for name, make in RECIPES.items():
        if make is type(recipe):
            return name
    return type(recipe).__name__.lower()


def described(recipe: Recipe) -> dict[str, Any]:
    """Say in JSON what a recipe is; a guarantee in it by its name too, for the fields are few."""
    found = {"name": name_of(recipe), **asdict(recipe)}
    for part in fields(recipe):
        value = getattr(recipe, part.name)
        if isinstance(value, Guarantee):
            found[part.name] = {"name": type(value).__name__, **found[part.name]}
    return found
