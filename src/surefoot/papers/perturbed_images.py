"""What long perturbations without a limit make of images: PGD beside UDP (Figure 15 of UDP)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.attacks import pgd, udp
from surefoot.data import Data
from surefoot.models import device_of, frozen
from surefoot.threat import Norm, Threat
from surefoot.types import Model


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images, and what became of them.

    Attributes:
        data: the images.
        norm: of the steps.
        steps: taken.
        step_size: of each step.
        images: name of the perturbation -> images; "image" holds the unchanged ones.
        probabilities: the same names -> `[B, C]`.
    """

    data: Data
    norm: Norm
    steps: int
    step_size: float
    images: dict[str, Tensor]
    probabilities: dict[str, Tensor]


def gallery(
    model: Model, data: Data, *, norm: Norm = "linf", steps: int = 1000, step_size: float = 1e-3
) -> Gallery:
    """Perturb images by PGD and by UDP, as far as the steps carry inside the box.

    The ball holds the whole box, so that only box and steps set limits: eps is infinite, as in the
    paper. UDP takes all its steps.

    Args:
        model: maps images to logits.
        data: few images.
        norm: of the steps.
        steps: of each perturbation.
        step_size: in pixel units.
    """
    images, labels = (part.to(device_of(model)) for part in data.batch(slice(None)))
    diameter = 1.0 if norm == "linf" else math.sqrt(images[0].numel())
    how = {"threat": Threat(norm, diameter), "steps": steps, "step_size": step_size}
    found = {
        "image": images,
        "pgd": pgd(model, images, labels, **how),
        "udp": udp(model, images, **how, step_counts="fixed"),
    }
    with frozen(model), torch.no_grad():
        fractions = {name: model(points).softmax(1).cpu() for name, points in found.items()}
    found = {name: points.cpu() for name, points in found.items()}
    return Gallery(data, norm, steps, step_size, found, fractions)
