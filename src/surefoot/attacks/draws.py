"""Where attacks take their random numbers from.

`ByExample` (the default) gives every example its own stream, so verdicts depend on neither batch
size nor order. `ByBatch` draws for a whole batch from one stream, in the order of the reference
implementation of AutoAttack: for comparisons with it alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surefoot.streams import generator, keys
from surefoot.threat import Norm, spread
from surefoot.types import Images

AHEAD = 250
"""Queries of a random search that are drawn at once."""


@dataclass
class ByExample:
    """One stream an example, keyed by (seed, purpose, pixels)."""

    streams: list[torch.Generator]
    table: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def of(cls, images: Images, *key: int) -> "ByExample":
        """Open the streams of these images for a purpose."""
        return cls([generator(*key, name) for name in keys(images)])

    def only(self, rows: Tensor) -> "ByExample":
        """Return the streams of these rows, numbered from 0."""
        return ByExample([self.streams[row] for row in rows.tolist()])

    def uniform(self, shape: Sequence[int], rows: Tensor) -> Tensor:
        """Draw from [0, 1), `[len(rows), *shape]`."""
        return torch.stack([torch.rand(shape, generator=self.streams[r]) for r in rows.tolist()])

    def normal(self, shape: Sequence[int], rows: Tensor) -> Tensor:
        """Draw standard normal numbers, `[len(rows), *shape]`."""
        return torch.stack([torch.randn(shape, generator=self.streams[r]) for r in rows.tolist()])

    def shared(self, count: int, rows: Tensor) -> Tensor:
        """Draw what the reference shares over the batch: here each example has its own."""
        return self.uniform((count,), rows)

    def query(self, index: int, shared: int, own: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Draw for one query `[len(rows), shared]` and `[len(rows), own]`.

        Many queries are drawn ahead: one draw an example and query would cost more than the model.
        """
        if index % AHEAD == 0:
            every = torch.arange(len(self.streams))
            self.table = self.uniform((AHEAD, shared + own), every).to(rows.device)
        found = self.table[rows, index % AHEAD]
        return found[:, :shared], found[:, shared:]


@dataclass
class ByBatch:
    """One stream for the batch, as the reference draws."""

    stream: torch.Generator

    @classmethod
    def of(cls, seed: int) -> "ByBatch":
        """Open the stream as `torch.manual_seed(seed)` would."""
        return cls(torch.Generator().manual_seed(seed))

    def only(self, rows: Tensor) -> "ByBatch":
        """Return the one stream there is."""
        return self

    def uniform(self, shape: Sequence[int], rows: Tensor) -> Tensor:
        """Draw from [0, 1), `[len(rows), *shape]`."""
        return torch.rand((len(rows), *shape), generator=self.stream)

    def normal(self, shape: Sequence[int], rows: Tensor) -> Tensor:
        """Draw standard normal numbers, `[len(rows), *shape]`."""
        return torch.randn((len(rows), *shape), generator=self.stream)

    def shared(self, count: int, rows: Tensor) -> Tensor:
        """Draw once for all, `[1, count]`."""
        return torch.rand((1, count), generator=self.stream)

    def query(self, index: int, shared: int, own: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Draw for one query `[1, shared]` and `[len(rows), own]`."""
        first = self.shared(shared, rows).to(rows.device)
        return first, self.uniform((own,), rows).to(rows.device)


Draws = ByExample | ByBatch


def directions(draws: Draws, images: Images, norm: Norm, rows: Tensor) -> Images:
    """Draw noise of length 1 in the norm: uniform for linf, Gaussian for l2."""
    shape = images.shape[1:]
    if norm == "linf":
        noise = 2 * draws.uniform(shape, rows) - 1
        length = noise.flatten(1).abs().amax(1)
    else:
        noise = draws.normal(shape, rows)
        length = torch.linalg.vector_norm(noise.flatten(1), dim=1)
    return (noise / spread(length.clamp(min=1e-12), noise)).to(images)
