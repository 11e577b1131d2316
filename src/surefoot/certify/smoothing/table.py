"""One table of everything that noise samples show; every certificate reads it, none draws again.

A sample shows a label and a score of uncertainty. Counted together they hold, for every threshold
of the score at once, which fraction of the samples is class c AND certain, and which is uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from surefoot.models.border import check_rows, outcomes_of
from surefoot.models.frozen import frozen
from surefoot.streams import generator
from surefoot.types import Images, PerExample, rejects
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.selective import check_score, scored
from surefoot.uncertainty.vote import Vote

UNIT = tuple(j / 100 for j in range(1, 101))
"""Edges for scores in [0, 1]."""
ROUNDING = 1e-4
"""By which a score in [0, 1] may miss it, in float32 and with many classes."""


@dataclass(frozen=True)
class Table:
    """Counts of noise samples of each image.

    Args:
        joint: `[B, C, E + 2]` samples by label and score: bin j holds scores in (edges[j - 1],
            edges[j]], bin E those above all edges, bin E + 1 what is no number.
        broken: `[B]` samples without finite logits, a competitor of everything.
        edges: increasing; thresholds are taken from them.
        outside: samples of all images whose score lies outside [0, 1] by more than rounding.
    """

    joint: Tensor
    broken: Tensor
    edges: tuple[float, ...]
    outside: int = 0

    @property
    def draws(self) -> int:
        """Return the number of samples of an image."""
        return int(self.joint[0].sum() + self.broken[0])

    def votes(self, threshold: float | None = None) -> Counts:
        """Count labels, and with a threshold also "uncertain".

        A sample is certain where its score is at most the threshold, one of the edges; a score that
        is no number is uncertain.
        """
        if threshold is None:
            return Counts(self.joint.sum(2), None, self.broken)
        if threshold not in self.edges:
            raise ValueError(
                f"a threshold must be one of the {len(self.edges)} edges of the table, from"
                f" {self.edges[0]:g} to {self.edges[-1]:g}; found {threshold:g}"
            )
        certain = self.joint[:, :, : self.edges.index(threshold) + 1].sum(2)
        return Counts(certain, self.joint.sum((1, 2)) - certain.sum(1), self.broken)

    def scores(self) -> Tensor:
        """Count scores as `score_bounds.histogram` does, `[B, E + 1]`; edges j / E are needed.

        What lies above 1 by rounding counts as 1; broken samples and what is no number go last.

        Raises:
            ValueError: other edges, or scores that are not bounded by 0 and 1.
        """
        if self.outside:
            raise ValueError(
                f"bounds of scores need a score in [0, 1]; {self.outside} samples have another."
                " Take"
                " vacuity-exp for energy, gp-variance for latent-variance: they order images alike"
            )
        steps = torch.tensor(self.edges, dtype=torch.float64) * len(self.edges)
        if not bool((steps - torch.arange(1, len(steps) + 1)).abs().max() < 1e-9):
            raise ValueError("bounds of scores need edges 1 / E, 2 / E, ..., 1, such as UNIT")
        inside, above, unknown = self.joint.sum(1).split([len(self.edges), 1, 1], dim=1)
        inside = torch.cat([inside[:, :-1], inside[:, -1:] + above], 1)
        return torch.cat([inside, unknown + self.broken.unsqueeze(1)], 1)


def count(
    vote: Vote,
    images: Images,
    draws: int,
    *key: int,
    score: str = "entropy",
    edges: Sequence[float] = UNIT,
    batch_size: int = 2000,
) -> Table:
    """Count labels and scores of noise samples, in one pass over them.

    Args:
        vote: a net without the column "uncertain", and the noise.
        images: `[B, ...]`.
        draws: samples of each image; memory does not grow with them.
        key: of the noise; equal keys and images give equal noise, whatever the batch.
        score: of the uncertainty, as for `Selective`.
        edges: thresholds and ends of bins, increasing, fixed before the draws.
        batch_size: samples in one pass.
    """
    if rejects(vote.model):
        raise ValueError("the table splits outcomes by its own thresholds: give the net inside")
    check_score(vote.model, score)
    check_rows(vote.model, images)
    if not edges or any(not low < high for low, high in pairwise(edges)):
        raise ValueError("`edges` must increase")
    ends = torch.tensor(edges, dtype=torch.float64)
    bins = len(edges) + 2
    classes = _classes(vote, images)

    def read(samples: Tensor) -> Tensor:
        logits, scores = scored(vote.model, samples, score)
        finite = logits.isfinite().all(1)
        kept, known = logits[finite], scores[finite]
        place = _place(known, ends)
        joint = torch.bincount(kept.argmax(1) * bins + place, minlength=classes * bins)
        outside = ((known < -ROUNDING) | (known > 1 + ROUNDING)).sum()
        return torch.cat([joint, outside.unsqueeze(0), (~finite).sum().unsqueeze(0)])

    flat = vote.sums(images, draws, *key, read=read, batch_size=batch_size).cpu()
    joint, outside, broken = flat.split([classes * bins, 1, 1], dim=1)
    joint = joint.unflatten(1, (classes, bins))
    return Table(joint, broken.squeeze(1), tuple(edges), int(outside.sum()))


def _place(scores: PerExample, ends: Tensor) -> Tensor:
    """Return the bin of each score: a score on an edge belongs below it."""
    place = torch.bucketize(scores.double(), ends.to(scores.device))
    return torch.where(scores.isnan(), len(ends) + 1, place)


def _classes(vote: Vote, images: Images) -> int:
    with torch.no_grad(), frozen(vote.model), torch.random.fork_rng():
        torch.manual_seed(generator(0).initial_seed())
        outcomes = outcomes_of(vote.model, images[:1])
    return outcomes.shape[1]
