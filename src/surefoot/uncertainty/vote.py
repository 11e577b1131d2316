"""The vote of a random classifier: the outcome that most draws predict.

Under Gaussian noise it is the classifier g that smoothing certifies (Cohen, Rosenfeld, Kolter
2019); with sigma = 0 it is the vote of a model that is random by itself (Monte-Carlo dropout).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.stats import rounded_normal, tv_error
from surefoot.streams import keys, normal, own_randomness
from surefoot.types import Images, Model, Outcomes, rejects
from surefoot.uncertainty import majority
from surefoot.uncertainty.counts import Counts

Rule = Literal["argmax", "majority"]
"""How probabilities become an outcome: the largest wins, or as in `uncertainty.majority`."""
BLOCK = 500
"""Noise is drawn in blocks of this many samples, so that no batch size changes the numbers."""
CPU_PASS = 2**18
"""Numbers in the samples of one pass on a CPU: 85 images of 3 x 32 x 32."""
OFF_GRID = 2e-5
"""Steps by which a pixel k / levels may miss the grid: float32 rounds by 8e-6. A radius holds
for the place of an image on the grid, so more would move a radius that counts as proven."""


@dataclass(frozen=True)
class Vote:
    """A base classifier and the noise N(0, sigma^2 I), added in pixel units and not clipped.

    Args:
        model: Maps images to outcomes; its own randomness, if any, must be drawn anew for each row
            of a batch (`models.border` tries that) and come from torch's global stream.
        sigma: Standard deviation of the noise; 0 leaves the model's own randomness alone.
        levels: Steps of the grid between 0 and 1 on which the pixels sit: 255 for 8-bit images.
            Then every noise sample is rounded to the grid before the model sees it, and on images
            of the grid the noise is drawn as whole numbers, free of rounding
            (`stats.rounded_normal`). 0 takes noise in floating point.
        rule: How counts become an outcome: the largest one (argmax), or a label only where it has
            more than half of the probability and "uncertain" elsewhere (majority; needs a model
            that rejects).
    """

    model: Model
    sigma: float
    levels: int = 0
    rule: Rule = "argmax"

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"`sigma` must be finite and at least 0; found {self.sigma}")
        if self.levels < 0 or (self.levels > 0 and self.sigma == 0):
            raise ValueError(f"`levels` must be at least 0 and need noise; found {self.levels}")

    @property
    def rejects(self) -> bool:
        """Return whether the base classifier has the outcome "uncertain"."""
        return rejects(self.model)

    def outcomes(self, fractions: Outcomes) -> Outcomes:
        """Turn probabilities of outcomes into outcomes of the vote, of which the largest wins."""
        return majority.outcomes(fractions) if self.rule == "majority" else fractions

    def tv_error(self, images: Images) -> float | None:
        """Bound how far any probability may be from its value under exact noise; None: unknown.

        Floating noise is taken as exact, as everywhere in the literature, though a net that reads
        the last bits of its input refutes that (Voracek, Hein 2023). Only `levels` proves a bound:
        255 for 8-bit images.

        Raises:
            ValueError: images off the grid, for which no bound is known.
        """
        if self.levels == 0:
            return None
        if not bool(self._on_grid(images).all()):
            raise ValueError(
                f"whole-number noise needs pixels k / {self.levels}; found others. Give 8-bit"
                " images, or noise as floating point (levels 0)"
            )
        return tv_error(self.sigma * self.levels, images[0].numel())

    def counts(self, images: Images, draws: int, *key: int, batch_size: int = 2000) -> Counts:
        """Count the outcomes of noise samples of each image.

        A sample votes for its largest outcome, the first one at a tie.

        Args:
            images: `[B, ...]`.
            draws: noise samples of each image.
            key: of the noise; the stream depends on it and on the image, not on the batch.
            batch_size: samples in one pass; memory does not grow with `draws`. A model that is
                random by itself draws other numbers for another size below `BLOCK`.
        """
        table = self.sums(
            images,
            draws,
            *key,
            read=lambda part: _tally(outcomes_of(self.model, part)),
            batch_size=batch_size,
        )
        return Counts.of(table, self.rejects)

    def sums(
        self,
        images: Images,
        draws: int,
        *key: int,
        read: Callable[[Tensor], Tensor],
        batch_size: int = 2000,
    ) -> Tensor:
        """Sum anything that can be read off noise samples of each image; see `counts`.

        Args:
            images: `[B, ...]`.
            draws: noise samples of each image.
            key: of the noise.
            read: maps samples of one image to a table; tables are added up.
            batch_size: samples in one pass.

        Returns:
            tables `[B, ...]`.
        """
        device = device_of(self.model)
        tables: Tensor | None = None
        with torch.no_grad(), frozen(self.model):
            for place, (image, name) in enumerate(zip(images, keys(images), strict=True)):
                total: Tensor | int = 0
                for first in range(0, draws, BLOCK):
                    block = (*key, name, first // BLOCK)
                    many = min(draws - first, BLOCK)
                    samples = self._noisy(image.to(device).expand(1, *image.shape), many, [block])
                    with own_randomness(*block):
                        parts = [read(part) for part in _passes(samples, batch_size)]
                    total = total + torch.stack(parts).sum(0)
                assert isinstance(total, Tensor)  # `draws` is at least 1
                if tables is None:
                    tables = total.new_empty(len(images), *total.shape)
                # Into one table: small tensors that stay, between large ones that go, would keep
                # the heap from ever being reused (2 GB for 10,000 images).
                tables[place] = total
        assert tables is not None
        return tables.to(images.device)

    def increments(self, images: Images, draws: int, *key: int, batch_size: int = 2000) -> Counts:
        """Count fresh samples of many images at once, a few of each: a step of a sequential test.

        Args:
            images: `[B, ...]`.
            draws: samples of each image.
            key: of the noise, another one for each step; the stream depends on it, on the number of
                draws and on the image, not on the batch (a model that is random by itself has a
                stream a batch).
            batch_size: samples in one pass.
        """
        if draws > BLOCK:
            return self.counts(images, draws, *key, batch_size=batch_size)
        device, rows = device_of(self.model), []
        names = keys(images)
        with torch.no_grad(), frozen(self.model):
            for few in torch.arange(len(images)).split(max(batch_size // draws, 1)):
                streams = [(*key, names[row]) for row in few.tolist()]
                samples = self._noisy(images[few].to(device), draws, streams)
                with own_randomness(*streams[0]):
                    parts = [outcomes_of(self.model, part) for part in _passes(samples, batch_size)]
                    outcomes = torch.cat(parts)
                winners = _winners(outcomes).view(len(few), draws)
                table = winners.new_zeros(len(few), outcomes.shape[1] + 1)
                rows.append(table.scatter_add(1, winners, torch.ones_like(winners)))
        return Counts.of(torch.cat(rows).to(images.device), self.rejects)

    def _noisy(self, images: Tensor, draws: int, streams: list[tuple[int, ...]]) -> Tensor:
        """Return samples of each image from its stream, one image after the other."""
        samples = images.repeat_interleave(draws, 0)
        if self.sigma == 0:
            return samples
        shape = (draws, *images.shape[1:])
        if self.levels and bool(self._on_grid(images).all()):
            scale = self.sigma * self.levels
            whole = torch.cat([rounded_normal(shape, scale, *stream) for stream in streams])
            # Whole numbers and one division: no rounding before the model sees them.
            return ((samples * self.levels).round() + whole.to(samples)) / self.levels
        noise = torch.cat([normal(shape, *stream) for stream in streams])
        noisy = samples + self.sigma * noise.to(samples)
        return (noisy * self.levels).round() / self.levels if self.levels else noisy

    def _on_grid(self, images: Tensor) -> Tensor:
        """Return which images have all pixels on the grid, `[B]`."""
        places = images.double() * self.levels
        return ((places - places.round()).abs() < OFF_GRID).flatten(1).all(1)

    def soft(self, images: Images, noise: Tensor) -> Outcomes:
        r"""Return the log of the mean softmax over noise samples: a differentiable proxy of g.

        $$ \log \tfrac{1}{S} \sum_s \mathrm{softmax}(f(x + \sigma e_s)) $$

        Args:
            images: `[B, ...]`.
            noise: standard normal, `[B, S, ...]`.
        """
        samples = (images.unsqueeze(1) + self.sigma * noise).flatten(0, 1)
        logs = outcomes_of(self.model, samples).log_softmax(1).unflatten(0, noise.shape[:2])
        logs = logs.logsumexp(1)
        if self.rule == "argmax":
            return logs
        half = torch.full_like(logs[:, -1:], math.log(0.5 * noise.shape[1]))
        return torch.cat([logs[:, :-1], half], 1)


def _passes(samples: Images, batch_size: int) -> tuple[Tensor, ...]:
    """Cut samples into passes, on a CPU into such as fit the memory that an allocator reuses.

    Activations above some 32 MB are mapped and given back in every layer: ResNet-20 then takes four
    times as long for each sample.
    """
    if samples.device.type == "cpu":
        batch_size = min(batch_size, max(CPU_PASS // samples[0].numel(), 1))
    return samples.split(batch_size)


def _tally(outcomes: Outcomes) -> Tensor:
    """Count winners over the batch, `[O + 1]`; the last entry counts non-finite rows."""
    return torch.bincount(_winners(outcomes), minlength=outcomes.shape[1] + 1)


def _winners(outcomes: Outcomes) -> Tensor:
    return torch.where(outcomes.isfinite().all(1), outcomes.argmax(1), outcomes.shape[1])
