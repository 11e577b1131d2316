"""What noise samples of images show: counts of labels, of "uncertain", and of broken outcomes."""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.types import Outcomes


class Counts(NamedTuple):
    """Noise samples of each image, by what they show.

    Args:
        labels: `[B, C]`.
        uncertain: `[B]`; None for a classifier that cannot reject.
        broken: `[B]`, samples without a finite outcome: they compete with every outcome.
    """

    labels: Tensor
    uncertain: Tensor | None
    broken: Tensor

    @staticmethod
    def of(table: Tensor, rejects: bool) -> "Counts":
        """Return the counts in a `table` as of `Counts.table`."""
        outcomes, broken = table[:, :-1], table[:, -1]
        if not rejects:
            return Counts(outcomes, None, broken)
        return Counts(outcomes[:, :-1], outcomes[:, -1], broken)

    @property
    def outcomes(self) -> Tensor:
        """Return the counts of the outcomes, `[B, O]`."""
        if self.uncertain is None:
            return self.labels
        return torch.cat([self.labels, self.uncertain.unsqueeze(1)], 1)

    @property
    def table(self) -> Tensor:
        """Return the counts of everything that competes, `[B, O + 1]`; broken ones are last."""
        return torch.cat([self.outcomes, self.broken.unsqueeze(1)], 1)

    @property
    def samples(self) -> Tensor:
        """Return the number of samples, `[B]`."""
        return self.table.sum(1)

    @property
    def fractions(self) -> Outcomes:
        """Return the fractions of the outcomes, float64 `[B, O]`."""
        return self.outcomes.double() / self.samples.unsqueeze(1)

    def to(self, device: torch.device) -> "Counts":
        """Return the same counts on a device."""
        return Counts.of(self.table.to(device), self.uncertain is not None)
