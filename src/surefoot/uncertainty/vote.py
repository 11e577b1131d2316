"""The vote of a random classifier: the answer that most draws give.

Under Gaussian noise it is the classifier g that smoothing certifies (Cohen, Rosenfeld, Kolter
2019); with sigma = 0 it is the vote of a model that is random by itself (Monte-Carlo dropout).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.models.frozen import device_of, frozen
from surefoot.streams import generator, keys, normal
from surefoot.types import Images, Model, Outcomes, rejects

BLOCK = 500
"""Noise is drawn in blocks of this many copies, so that no batch size changes the numbers."""


@dataclass(frozen=True)
class Vote:
    """A base classifier and the noise N(0, sigma^2 I), added in pixel units and not clipped.

    Args:
        model: maps images to outcomes; its own randomness, if any, must be fresh in each call and
            come from torch's global stream.
        sigma: standard deviation of the noise; 0 leaves the model's own randomness alone.
    """

    model: Model
    sigma: float

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"`sigma` must be finite and at least 0; found {self.sigma}")

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
            batch_size: copies in one pass; memory does not grow with `draws`. A model that is
                random by itself draws other numbers for another size below `BLOCK`.

        Returns:
            int64 counts `[B, O + 1]`.
        """
        device = device_of(self.model)
        rows = []
        with torch.inference_mode(), frozen(self.model):
            for image, name in zip(images, keys(images), strict=True):
                total = 0
                for first in range(0, draws, BLOCK):
                    block = (*key, name, first // BLOCK)
                    copies = self._copies(image.to(device), min(draws - first, BLOCK), block)
                    with own_randomness(*block):
                        parts = [tally(self.model(part)) for part in copies.split(batch_size)]
                    total = total + torch.stack(parts).sum(0)
                rows.append(total)
        return torch.stack(rows).to(images.device)

    def increments(self, images: Images, draws: int, *key: int, batch_size: int = 2000) -> Tensor:
        """Count fresh copies of many images at once, a few of each: a step of a sequential test.

        Args:
            images: `[B, ...]`.
            draws: copies of each image.
            key: of the noise, another one for each step; the stream depends on it, on the number of
                draws and on the image, not on the batch.
            batch_size: copies in one pass.

        Returns:
            int64 counts `[B, O + 1]`, as of `counts`.
        """
        if draws > BLOCK:
            return self.counts(images, draws, *key, batch_size=batch_size)
        device, rows = device_of(self.model), []
        names = keys(images)
        with torch.inference_mode(), frozen(self.model):
            for few in torch.arange(len(images)).split(max(batch_size // draws, 1)):
                part = images[few].to(device)
                copies = part.repeat_interleave(draws, 0)
                if self.sigma > 0:
                    shape = (draws, *images.shape[1:])
                    noise = torch.cat([normal(shape, *key, names[row]) for row in few.tolist()])
                    copies = copies + self.sigma * noise.to(copies)
                with own_randomness(*key, names[int(few[0])]):
                    outcomes = self.model(copies)
                winners = _winners(outcomes).view(len(few), draws)
                table = winners.new_zeros(len(few), outcomes.shape[1] + 1)
                rows.append(table.scatter_add(1, winners, torch.ones_like(winners)))
        return torch.cat(rows).to(images.device)

    def _copies(self, image: Tensor, count: int, key: tuple[int, ...]) -> Tensor:
        if self.sigma == 0:
            return image.expand(count, *image.shape)
        noise = normal((BLOCK, *image.shape), *key)[:count]
        return image + self.sigma * noise.to(image.device)

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


@contextmanager
def own_randomness(*key: int) -> Iterator[None]:
    """Seed torch's global streams by the key for a while: a random model answers reproducibly."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(*key).initial_seed())
        yield


def tally(outcomes: Outcomes) -> Tensor:
    """Count winners over the batch, `[O + 1]`; the last entry counts non-finite rows."""
    return torch.bincount(_winners(outcomes), minlength=outcomes.shape[1] + 1)


def _winners(outcomes: Outcomes) -> Tensor:
    return torch.where(outcomes.isfinite().all(1), outcomes.argmax(1), outcomes.shape[1])
