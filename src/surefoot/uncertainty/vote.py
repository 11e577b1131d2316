"""The vote of a classifier under Gaussian noise: the classifier g that smoothing certifies.

Cohen, Rosenfeld, Kolter 2019. g answers with the outcome that most noisy copies of the image have.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.models.frozen import device_of, frozen
from surefoot.streams import keys, normal
from surefoot.types import Images, Model, Outcomes, rejects

BLOCK = 500
"""Noise is drawn in blocks of this many copies, so that no batch size changes the numbers."""


@dataclass(frozen=True)
class Vote:
    """A base classifier and the noise N(0, sigma^2 I), added in pixel units and not clipped.

    Args:
        model: maps images to outcomes; its randomness, if any, must be fresh in each call.
        sigma: standard deviation of the noise.
    """

    model: Model
    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"`sigma` must be finite and above 0; found {self.sigma}")

    @property
    def rejects(self) -> bool:
        """Say whether the base classifier has the outcome "uncertain"."""
        return rejects(self.model)

    def counts(self, images: Images, draws: int, *key: int, batch_size: int = 2000) -> Tensor:
        """Count the outcomes of noisy copies of each image.

        A copy votes for its largest outcome, the first one at a tie; a copy with a non-finite
        outcome votes for the additional last column, a rival of everything.

        Args:
            images: `[B, ...]`.
            draws: noisy copies of each image.
            key: of the noise; the stream depends on it and on the image, not on the batch.
            batch_size: copies in one pass; memory does not grow with `draws`.

        Returns:
            int64 counts `[B, O + 1]`.
        """
        device = device_of(self.model)
        rows = []
        with torch.inference_mode(), frozen(self.model):
            for image, name in zip(images, keys(images), strict=True):
                total = 0
                for first in range(0, draws, BLOCK):
                    noise = normal((BLOCK, *image.shape), *key, name, first // BLOCK)
                    noise = noise[: draws - first]
                    copies = image.to(device) + self.sigma * noise.to(device)
                    parts = [tally(self.model(part)) for part in copies.split(batch_size)]
                    total = total + torch.stack(parts).sum(0)
                rows.append(total)
        return torch.stack(rows).to(images.device)

    def soft(self, images: Images, noise: Tensor) -> Outcomes:
        r"""Give the log of the mean softmax over noisy copies: the differentiable stand-in of g.

        $$ \log \tfrac{1}{S} \sum_s \mathrm{softmax}(f(x + \sigma e_s)) $$

        Args:
            images: `[B, ...]`.
            noise: standard normal, `[B, S, ...]`.
        """
        copies = (images.unsqueeze(1) + self.sigma * noise).flatten(0, 1)
        logs = self.model(copies).log_softmax(1).unflatten(0, noise.shape[:2])
        return logs.logsumexp(1)


def tally(outcomes: Outcomes) -> Tensor:
    """Count winners over the batch, `[O + 1]`; the last entry counts non-finite rows."""
    winner = outcomes.argmax(1)
    winner = torch.where(outcomes.isfinite().all(1), winner, outcomes.shape[1])
    return torch.bincount(winner, minlength=outcomes.shape[1] + 1)
