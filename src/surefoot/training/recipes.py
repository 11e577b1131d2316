"""A recipe is a perturbation and a loss; the named ones stand in one table.

Searches run in eval mode with gradients for the images only. `make_recipe("pgd", steps=7)` and
`surefoot train pgd --steps 7` take the same recipe and the same options.
"""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from surefoot.attacks.latent import Point
from surefoot.attacks.perturbation import Perturbation
from surefoot.threat import Threat
from surefoot.training.bound_loss import BoundLoss
from surefoot.training.gloro import GloRo
from surefoot.training.losses import (
    CleanToo,
    ConfidenceAware,
    Consistency,
    CrossEntropy,
    Mart,
    MaxMargin,
    RewardedEntropy,
    Trades,
)
from surefoot.training.noise import Alternating, Noisy, WorstNoise
from surefoot.training.outputs import Outputs
from surefoot.training.surroundings import AttackedBall, Ball, BallRegion, SmallBall, Surrounding
from surefoot.types import Images, Labels, Model, PerExample


@runtime_checkable
class Loss(Protocol):
    """The loss of each example, as a function of the outputs on a batch."""

    def __call__(self, outputs: Outputs) -> PerExample:
        """Return the loss of each example."""
        ...


@dataclass(frozen=True)
class Recipe:
    """Where a model is trained, and which loss is minimised there.

    Args:
        perturbation: How the images move, or the balls around them that bounds hold in; None leaves
            them.
        loss: Function of the outputs on a batch, one value an example.
        name: Name in the table, or one of your own, for logs and the run folder.
    """

    perturbation: Perturbation | Noisy | WorstNoise | Alternating | Surrounding | None = None
    loss: Loss = field(default_factory=CrossEntropy)
    name: str = "custom"

    def perturb(
        self,
        model: Model,
        images: Images,
        labels: Labels,
        generator: torch.Generator,
        done: float = 1.0,
    ) -> Point | BallRegion:
        """Return the point at which the model is trained, or the region; leave the model as it is.

        Args:
            model: maps images to outcomes.
            images: clean ones.
            labels: true labels.
            generator: source of what is random.
            done: fraction of the steps of the training that are behind.
        """
        if self.perturbation is None:
            return images
        if isinstance(self.perturbation, Surrounding):
            return self.perturbation.surround(model, images, labels, generator, done)
        return self.perturbation.move(model, images, labels, generator)


SEARCH = Perturbation(start="uniform")
UNCERTAIN = Perturbation(objective="entropy", step_counts="uniform", relative_step=1.0)
HARD_UNDER_NOISE = Perturbation(Threat("l2", 0.25), steps=2, relative_step=2.0)

TABLE: dict[str, tuple[str, Recipe]] = {
    "standard": ("Clean images: empirical risk minimisation.", Recipe()),
    "maxe": (
        "Clean images, and a reward for uncertainty (Pereyra et al. 2017).",
        Recipe(loss=RewardedEntropy()),
    ),
    "noise": ("Images with Gaussian noise: for smoothing (Cohen et al. 2019).", Recipe(Noisy())),
    "fgsm": (
        "One steepest step of length eps from the image (Goodfellow et al. 2015).",
        Recipe(Perturbation(steps=1, relative_step=1.0)),
    ),
    "r-fgsm": (
        "One steepest step of 1.25 eps from a random point of the ball (Tramer et al. 2018; Wong"
        " et al. 2020).",
        Recipe(Perturbation(steps=1, relative_step=1.25, start="uniform")),
    ),
    "n-fgsm": (
        "One steepest step of length eps from a noisy image, not brought back to the ball (de Jorge"
        " et al. 2022).",
        Recipe(Perturbation(steps=1, relative_step=1.0, spread=2.0)),
    ),
    "pgd": ("Images of highest loss within the threat (Madry et al. 2018).", Recipe(SEARCH)),
    "fat": (
        "Friendly: PGD that stops soon after the label is lost (Zhang et al. 2020).",
        Recipe(Perturbation(start="uniform", step_counts="until-boundary", extra_steps=1)),
    ),
    "trades": (
        "Right at the image, unchanged in its neighbourhood (Zhang et al. 2019).",
        Recipe(Perturbation(objective="kl", start="normal"), Trades()),
    ),
    "mart": (
        "PGD, with more weight on images that are hard when clean (Wang et al. 2020).",
        Recipe(SEARCH, Mart()),
    ),
    "mma": (
        "The nearest wrong point on the way that PGD found: every image gets its own eps (Ding et"
        " al. 2020).",
        Recipe(Perturbation(start="uniform", bisection_steps=10), MaxMargin()),
    ),
    "udp": (
        "Images of highest uncertainty, reached in a random number of steps (Pagliardini et al."
        " 2022).",
        Recipe(UNCERTAIN),
    ),
    "udp-bt": (
        "As udp; a step that flips the predicted class is taken back and halved.",
        Recipe(replace(UNCERTAIN, step_rule="backtracking")),
    ),
    "udpr": (
        "Uncertain images beside clean ones (Pagliardini et al. 2022).",
        Recipe(UNCERTAIN, CleanToo()),
    ),
    "udp-trades": (
        "Right at the image, unchanged where uncertainty is highest.",
        Recipe(UNCERTAIN, Trades()),
    ),
    "consistency": (
        "Noise samples must be right, and agree (Jeong, Shin 2020).",
        Recipe(Noisy(samples=2), Consistency()),
    ),
    "smooth-adv": (
        "Noise samples of images that the smoothed classifier finds hard (Salman et al. 2019).",
        Recipe(Noisy(0.25, 2, HARD_UNDER_NOISE)),
    ),
    "cat-rs": (
        "Easy noise for images that are hard, the worst for those that are easy (in the manner of"
        " Jeong, Kim, Shin 2023).",
        Recipe(WorstNoise(Noisy(0.25, 4, HARD_UNDER_NOISE)), ConfidenceAware()),
    ),
    "noisy-udp": (
        "Noise samples of images where the smoothed classifier is least certain.",
        Recipe(Noisy(0.25, 2, replace(UNCERTAIN, threat=Threat("l2", 0.5), steps=4))),
    ),
    "gloro": (
        "Certified training for nets of known Lipschitz constant (Leino et al. 2021).",
        Recipe(loss=GloRo()),
    ),
    "ibp": (
        "Certified training by intervals, eps growing (Gowal et al. 2018; Shi et al. 2021).",
        Recipe(Ball(), BoundLoss()),
    ),
    "crown-ibp": (
        "As ibp, with lines back to the image while eps grows (Zhang et al. 2020).",
        Recipe(Ball(), BoundLoss(lines_from=1.0)),
    ),
    "sabr": (
        "Intervals in a small ball around an attacked point (Mueller et al. 2023).",
        Recipe(SmallBall(), BoundLoss()),
    ),
    "mtl-ibp": (
        "Adversarial loss and interval loss, weighted (De Palma et al. 2024).",
        Recipe(AttackedBall(), BoundLoss(weight=0.5, weight_from=None)),
    ),
}
"""Name -> one line, recipe."""
RECIPES = {name: replace(found, name=name) for name, (_, found) in TABLE.items()}
"""The recipes of the table, by name."""


def make_recipe(_name: str, **options: Any) -> Recipe:
    """Return a recipe of the table, with options in place of its own: the flags of `train`.

    Example:
        >>> make_recipe("udpr", threat=Threat("l2", 0.5), steps=5, weight=0.5).loss
        CleanToo(weight=0.5)

    Raises:
        ValueError: there is no such recipe, or it has no such option.
    """
    if _name not in RECIPES:
        raise ValueError(f"there is no recipe {_name!r}; there are {', '.join(RECIPES)}")
    left, names = dict(options), list[str]()
    found = _changed(RECIPES[_name], left, names)
    if left:
        raise ValueError(f"the recipe {_name} has {', '.join(names)}; found {', '.join(left)}")
    return found


def _changed(record: Any, options: dict[str, Any], names: list[str]) -> Any:
    """Return the record with the options that are its own, or its parts', which are taken out."""
    changes = {}
    for part in fields(record):
        value = getattr(record, part.name)
        names.append(part.name)
        if part.name in options:
            changes[part.name] = options.pop(part.name)
        elif is_dataclass(value):
            changes[part.name] = _changed(value, options, names)
    return replace(record, **changes)


def described(value: Any) -> Any:
    """Return a recipe, or a part of one, for JSON: each record by its name and fields."""
    if isinstance(value, tuple):
        return [described(one) for one in value]
    if not is_dataclass(value):
        return value
    parts = {part.name: described(getattr(value, part.name)) for part in fields(value)}
    return {"name": type(value).__name__} | parts
