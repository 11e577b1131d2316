"""Fixed steps of steepest ascent: PGD and FGSM, for attacks and for training.

Goodfellow, Shlens, Szegedy 2015 (FGSM); Madry et al. 2018 (PGD). Not here: step sizes that adapt
(`apgd`), success tests that end the search (`break_guarantee`).
"""

from dataclasses import replace

import torch

from surefoot.attacks.objectives import objective_of
from surefoot.attacks.perturbation import Perturbation, perturb_images
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.types import AnyLabels, Images, Model, checked_labels


def pgd(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    steps: int,
    step_size: float,
    objective: str = "cross-entropy",
    random_start: bool = False,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Images:
    r"""Climb the objective by projected steepest steps, and return the last point reached.

    $$ x_{t+1} = P(x_t + \mathrm{step\_size} \cdot s(\nabla_x L(f(x_t), y))) $$
    with s the steepest unit step of the norm. The model is in eval mode meanwhile; its weights and
    statistics are not touched.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        labels: true labels.
        threat: ball and box.
        steps: number of steps; `steps * step_size >= 2 eps` reaches the whole ball.
        step_size: length of a step in pixel units.
        objective: "cross-entropy", "cw", "dlr" or "entropy".
        random_start: start at a uniform point of the ball; restarts after the first always do.
        restarts: searches; the one with the highest final objective is kept, for each example.
        generator: source of the random starts.

    Returns:
        images inside the threat.
    """
    images, labels = threat.origins(images), checked_labels(labels, images)
    climb = objective_of(objective)
    if restarts < 1:
        raise ValueError(f"need restarts >= 1; found {restarts}")
    start = "uniform" if random_start else "origin"
    how = Perturbation(threat, objective, steps=steps, step_size=step_size, start=start)
    best = perturb_images(model, images, labels, how, generator=generator)
    if restarts == 1:
        return best
    with frozen(model), torch.no_grad():
        best_value = climb(outcomes_of(model, best), labels)
        for _ in range(restarts - 1):
            again = replace(how, start="uniform")
            found = perturb_images(model, images, labels, again, generator=generator)
            value = climb(outcomes_of(model, found), labels)
            best = torch.where(spread(value > best_value, images), found, best)
            best_value = torch.maximum(value, best_value)
    return best


def fgsm(
    model: Model,
    images: Images,
    labels: AnyLabels,
    *,
    threat: Threat,
    objective: str = "cross-entropy",
) -> Images:
    """Take one steepest step of length eps."""
    if threat.eps == 0:
        return threat.origins(images).clone()
    return pgd(
        model, images, labels, threat=threat, steps=1, step_size=threat.reach, objective=objective
    )
