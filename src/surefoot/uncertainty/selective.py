"""A classifier that may predict "uncertain": any score and a threshold as one more outcome."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.types import Images, Model, Outcomes, PerExample
from surefoot.uncertainty.members import log_mean, members_of
from surefoot.uncertainty.scores import MEMBER_SCORES, PROCESS_SCORES, SCORES

NAMES = (*SCORES, *MEMBER_SCORES, *PROCESS_SCORES)


class Selective(nn.Module):
    r"""Append an outcome "uncertain" that wins exactly where the score exceeds the threshold.

    $$ o_C = \max_c f_c + (u(x) - t) $$
    A NaN score counts as uncertain. The column is smooth in the score, so attacks can climb it.

    Args:
        model: maps images to logits `[B, C]`.
        score: of the logits (`scores.SCORES`), of the members of a model that has some
            (`MEMBER_SCORES`), or of a Gaussian process, DUE (`PROCESS_SCORES`).
        threshold: the largest score that is still accepted.

    Raises:
        ValueError: an unknown score, one that the model does not have, or a threshold that is NaN.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [0.1, 0.0]])
        >>> Selective(torch.nn.Identity(), "entropy", 0.5)(logits).argmax(1)
        tensor([0, 2])
    """

    rejects = True

    def __init__(self, model: Model, score: str = "entropy", threshold: float = 0.5) -> None:
        super().__init__()
        check_score(model, score)
        if math.isnan(threshold):
            raise ValueError("`threshold` must be a number; found NaN, which accepts nothing")
        self.model, self.score, self.threshold = model, score, threshold

    def forward(self, images: Images) -> Outcomes:
        """Map images to outcomes `[B, C + 1]`."""
        logits, scores = scored(self.model, images, self.score)
        excess = scores - self.threshold
        best = logits.amax(1)
        # Beside large logits a small excess would be rounded away: the last bit must survive.
        # (detached: older torch knows no derivative of nextafter)
        above = best + (torch.nextafter(best.detach(), best.detach() + 1) - best).detach()
        nudged = torch.where(excess > 0, above, best)
        column = torch.where(excess > 0, torch.maximum(best + excess, nudged), best + excess)
        column = torch.where(excess.isnan(), best + 1, column)
        return torch.cat([logits, column.unsqueeze(1)], 1)


def scored(model: Model, images: Images, score: str) -> tuple[Outcomes, PerExample]:
    """Run a model once; return its logits and its scores of uncertainty.

    A score of members takes the log of their mean probability for the logits, which are the model's
    own for all models of several members here.

    Args:
        model: without a column "uncertain".
        images: `[B, ...]`.
        score: one of `NAMES`.
    """
    if score in SCORES:
        logits = outcomes_of(model, images)
        return logits, SCORES[score](logits)
    if score in MEMBER_SCORES:
        members = members_of(model, score)(images)
        return log_mean(members), MEMBER_SCORES[score](members)
    check_score(model, score)
    process: Any = model
    return outcomes_of(process, images), PROCESS_SCORES[score](process.latent_variance(images))


def score_of(model: Model, images: Images, score: str) -> PerExample:
    """Return the score of each image, in eval mode and without gradients."""
    with torch.no_grad(), frozen(model):
        return scored(model, images.to(device_of(model)), score)[1].to(images.device)


def check_score(model: Model, score: str) -> None:
    """Raise unless the score exists and the model has it."""
    if score not in NAMES:
        raise ValueError(f"`score` must be one of {', '.join(NAMES)}; found {score!r}")
    if score in MEMBER_SCORES:
        members_of(model, score)
    if score in PROCESS_SCORES and not hasattr(model, "latent_variance"):
        raise ValueError(
            f"{score!r} is the variance of a Gaussian process (DUE); {type(model).__name__} has no"
            " `latent_variance`. Take a score of the outcomes, such as entropy."
        )


def accepted(outcomes: Tensor) -> Tensor:
    """Return for each row of a selective classifier whether a label wins strictly."""
    return outcomes[:, :-1].amax(1) > outcomes[:, -1]
