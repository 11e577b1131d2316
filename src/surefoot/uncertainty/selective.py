"""A classifier that may answer "uncertain": any score and a threshold as one more outcome."""

import math

import torch
from torch import Tensor, nn

from surefoot.types import Images, Model, Outcomes, PerExample
from surefoot.uncertainty.scores import SCORES


class Selective(nn.Module):
    r"""Append an outcome "uncertain" that wins exactly where the score exceeds the threshold.

    $$ o_C = \max_c f_c + (u(f) - t) $$
    A NaN score counts as uncertain. The column is smooth in the score, so attacks can climb it.

    Args:
        model: maps images to logits `[B, C]`.
        score: a name of `uncertainty.scores`: "max-probability", "entropy", "margin", "energy".
        threshold: the largest score that is still accepted.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [0.1, 0.0]])
        >>> Selective(torch.nn.Identity(), "entropy", 0.5)(logits).argmax(1)
        tensor([0, 2])
    """

    rejects = True

    def __init__(self, model: Model, score: str = "entropy", threshold: float = 0.5) -> None:
        super().__init__()
        if score not in SCORES:
            raise ValueError(f"`score` must be one of {', '.join(SCORES)}; found {score!r}")
        if math.isnan(threshold):
            raise ValueError("`threshold` must be a number; found NaN, which accepts nothing")
        self.model, self.score, self.threshold = model, score, threshold

    def forward(self, images: Images) -> Outcomes:
        """Map images to outcomes `[B, C + 1]`."""
        logits = self.model(images)
        excess = SCORES[self.score](logits) - self.threshold
        best = logits.amax(1)
        # Beside large logits a small excess would be rounded away: the last bit must survive.
        nudged = torch.where(excess > 0, torch.nextafter(best, best + 1), best)
        column = torch.where(excess > 0, torch.maximum(best + excess, nudged), best + excess)
        column = torch.where(excess.isnan(), best + 1, column)
        return torch.cat([logits, column.unsqueeze(1)], 1)


def threshold_at_coverage(scores: PerExample, coverage: float) -> float:
    """Give the smallest threshold that accepts at least `coverage` of these validation scores."""
    if not 0 < coverage <= 1 or bool(scores.isnan().any()):
        raise ValueError("`coverage` must lie in (0, 1] and scores must not be NaN")
    ordered = scores.sort().values
    rank = -int(-coverage * len(ordered) // 1)
    return ordered[min(rank, len(ordered)) - 1].item()


def accepted(outcomes: Tensor) -> Tensor:
    """Say for each row of a selective classifier whether a label wins strictly."""
    return outcomes[:, :-1].amax(1) > outcomes[:, -1]
