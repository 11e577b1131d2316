"""Where attacks take the points of a toy, over the loss or the uncertainty they climb."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from surefoot.attacks import pgd, udp
from surefoot.data import Data
from surefoot.models import frozen
from surefoot.models.border import outcomes_of
from surefoot.papers.toys.boundaries import grid
from surefoot.stats import Interval, interval
from surefoot.threat import Threat
from surefoot.types import Images, Model, Outcomes
from surefoot.uncertainty.scores import entropy

Height = Callable[[Outcomes], Tensor]
"""Outcomes -> what the background shows."""
BATCH = 1 << 14


@dataclass(frozen=True, eq=False)
class AttackedPanel:
    """What a figure of attacked points shows.

    Attributes:
        title: attack and model.
        data: the points.
        moved: where the attack took them `[N, 2]`.
        heights: of the background, on a grid over the box `[R, R]`.
        meaning: of the background.
        right: fraction of the points that are right after the attack.
    """

    title: str
    data: Data
    moved: Images
    heights: Tensor
    meaning: str
    right: Interval


def pgd_panels(
    title: str, model: Model, data: Data, *, threat: Threat, steps: int, step_size: float
) -> list[AttackedPanel]:
    """Attack the points of each class by PGD from the points: a panel a class, over its loss.

    The titles get the number of steps and the class.
    """
    found = []
    for label, name in enumerate(data.classes):
        own = data.take(data.labels == label)
        images, labels = own.batch(slice(None))
        moved = pgd(model, images, labels, threat=threat, steps=steps, step_size=step_size)
        loss = _loss_of(label)
        full = f"{title}, {_steps(steps)}, {name}"
        found.append(_panel(full, model, own, moved, loss, f"loss of {name}"))
    return found


def udp_panel(
    title: str, model: Model, data: Data, *, threat: Threat, steps: int, step_size: float
) -> AttackedPanel:
    """Attack all points by UDP, each with all its steps, over the entropy.

    The title gets the number of steps.
    """
    images = data.batch(slice(None))[0]
    how = {"threat": threat, "steps": steps, "step_size": step_size}
    moved = udp(model, images, **how, step_counts="fixed")
    return _panel(f"{title}, {_steps(steps)}", model, data, moved, entropy, "entropy")


def shown_attacks(model: Model, data: Data, **how: Any) -> list[AttackedPanel]:
    """Attack by PGD, a panel a class, and by UDP.

    Args:
        model: two outcomes a point.
        data: points in the plane.
        how: threat, steps and step size of both.
    """
    return [*pgd_panels("PGD", model, data, **how), udp_panel("UDP", model, data, **how)]


def _steps(steps: int) -> str:
    return f"{steps} step{'s' * (steps > 1)}"


def _loss_of(label: int) -> Height:
    def loss(outcomes: Outcomes) -> Tensor:
        truth = torch.full((len(outcomes),), label)
        return cross_entropy(outcomes, truth, reduction="none")

    return loss


def _panel(
    title: str, model: Model, data: Data, moved: Images, height: Height, meaning: str
) -> AttackedPanel:
    with frozen(model), torch.no_grad():
        right = int((outcomes_of(model, moved).argmax(1) == data.labels).sum())
        parts = [height(outcomes_of(model, part)) for part in grid(200).split(BATCH)]
    heights = torch.cat(parts).view(200, 200)
    return AttackedPanel(title, data, moved, heights, meaning, interval(right, len(data)))
