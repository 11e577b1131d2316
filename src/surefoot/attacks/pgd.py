"""Fixed steps of steepest ascent: PGD and FGSM, for attacks and for training.

Goodfellow, Shlens, Szegedy 2015 (FGSM); Madry et al. 2018 (PGD). Not here: step sizes that adapt
(`apgd`), success tests that end the search (`break_guarantee`).
"""

import torch
from torch import Tensor

from surefoot.attacks.counted import Counted, Objective
from surefoot.attacks.objectives import objective_of
from surefoot.models.frozen import frozen
from surefoot.threat import Threat, spread
from surefoot.types import Images, Labels, Model, check_images


def pgd(
    model: Model,
    images: Images,
    labels: Labels,
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
        objective: "cross-entropy", "margin", "dlr" or "entropy".
        random_start: start at a uniform point of the ball; restarts after the first always do.
        restarts: searches; the one with the highest final objective is kept, for each example.
        generator: source of the random starts.

    Returns:
        images inside the threat.
    """
    check_images(images, threat.low, threat.high)
    climb = objective_of(objective)
    if steps < 1 or restarts < 1 or not step_size > 0:
        raise ValueError(
            f"need steps >= 1, restarts >= 1, step_size > 0; found {steps}, {restarts}, {step_size}"
        )
    counts = torch.full((len(images),), steps)
    best, best_value = images, None
    with frozen(model):
        counted = Counted(model)
        for restart in range(restarts):
            jump = random_start or restart > 0
            start = threat.random_point(images, generator) if jump else images
            found = ascend(
                counted,
                lambda outcomes, rows: climb(outcomes, labels[rows]),
                start,
                images,
                threat=threat,
                step_size=step_size,
                counts=counts,
            )
            if restarts == 1:
                return found
            value = climb(counted(found), labels)
            if best_value is None:
                best, best_value = found, value
            better = value > best_value
            best = torch.where(spread(better, images), found, best)
            best_value = torch.maximum(value, best_value)
    return best


def fgsm(
    model: Model,
    images: Images,
    labels: Labels,
    *,
    threat: Threat,
    objective: str = "cross-entropy",
) -> Images:
    """Take one steepest step of length eps."""
    if threat.eps == 0:
        return images.clone()
    return pgd(
        model, images, labels, threat=threat, steps=1, step_size=threat.eps, objective=objective
    )


def ascend(
    model: Counted,
    objective: Objective,
    start: Images,
    origins: Images,
    *,
    threat: Threat,
    step_size: float,
    counts: Tensor,
) -> Images:
    """Climb from `start`, example i for `counts[i]` steps; finished examples leave the batch.

    Sorted by count, the active examples are always the head of the batch: no gather inside the
    loop, and the work is the sum of the counts instead of their maximum times the batch.
    """
    order = counts.argsort(descending=True)
    active = [int((counts > step).sum()) for step in range(int(counts.max()))]
    rows = order.to(origins.device)
    images, anchors = start[rows].clone(), origins[rows]
    for head in active:
        here = images[:head]
        gradient = model.slope(objective, here, rows[:head]).gradient
        moved = here + step_size * threat.steepest(gradient)
        images[:head] = threat.project(moved, anchors[:head])
    result = torch.empty_like(images)
    result[rows] = images
    return result
