"""Uncertainty driven perturbations: climb what the model is unsure of, not what it gets wrong.

Pagliardini, Manunza, Jaggi, Jordan, Chavdarova 2022, Algorithm 1. Uncertainty peaks at the decision
boundary and falls behind it, so the ascent stops there; no label is used.
"""

import torch

from surefoot.attacks.perturbation import Perturbation, StepCounts, perturb_images
from surefoot.threat import Threat
from surefoot.types import Images, Model


def udp(
    model: Model,
    images: Images,
    *,
    threat: Threat,
    steps: int,
    step_size: float,
    step_counts: StepCounts = "uniform",
    generator: torch.Generator | None = None,
) -> Images:
    r"""Climb the predictive entropy for a random number of steps, drawn for each example.

    $$ x_{t+1} = P(x_t + \mathrm{step\_size} \cdot s(\nabla_x H(p(x_t)))), \quad
       k \sim U\{1, \dots, \mathrm{steps}\} $$
    Examples whose count is used up leave the batch. The column "uncertain" of a selective
    classifier takes no part in the entropy.

    Args:
        model: maps images to outcomes.
        images: origins, inside the box.
        threat: ball and box.
        steps: largest number of steps.
        step_size: length of a step in pixel units; the boundary is overshot by up to this much.
        step_counts: how the counts are drawn, see `Perturbation`. "uniform" is what the authors'
            program does; the paper's text has {1, ..., steps - 1} ("uniform-below"), its
            Algorithm 1, which counts from 0 to k, one step more ("uniform-from-two").
        generator: source of the counts.

    Returns:
        images inside the threat.
    """
    how = Perturbation(threat, "entropy", steps=steps, step_size=step_size, step_counts=step_counts)
    return perturb_images(model, images, None, how, generator=generator)
