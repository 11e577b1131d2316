r"""Every estimator of "robust, or uncertain" from one table of counts, for any threshold.

Daeubener et al. 2024 give a classifier with an outcome "uncertain" two radii, (i) same label and
still certain, (ii) same label or uncertain. What (ii) gains depends on how it is read and on what
it is compared with, so all estimators are returned together, with those of plain smoothing with one
and with two bounds. Each radius holds on its own with probability at least 1 - alpha.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.smoothing.fixed import ClopperPearson, radii_from_counts
from surefoot.certify.smoothing.sampling import CERTIFY, SELECT
from surefoot.certify.smoothing.table import Table, count
from surefoot.guarantees import Guarantee, LabelOrUncertain, Local, smoothed_radius
from surefoot.types import Images, Labels, Model, Sets
from surefoot.uncertainty.counts import Counts
from surefoot.uncertainty.selective import score_of
from surefoot.uncertainty.vote import Rule, Vote


class TwoRadii(NamedTuple):
    """Radii of each image at one threshold, `[B]` float64; 0 = nothing.

    Attributes:
        label: most frequent label among certain samples of the selection, whatever U has.
        plain_label: most frequent label of the selection without rejection.
        uncertain: among the counted samples "uncertain" has at least as many as any label: the vote
            rejects the image.
        undecided: no label has more than half of them: the vote of the rule majority rejects it.
        one_bound: plain smoothing, sigma Phi^-1(p_A).
        plain: plain smoothing, sigma / 2 (Phi^-1(p_A) - Phi^-1(p_B)).
        certain: (i), with "uncertain" as one more competitor; 0 where it wins.
        pairwise: (ii), sigma / 2 (Phi^-1(p_A) - Phi^-1(p_B)) with joint probabilities.
        tight: (ii), the largest that holds: the maximum over subsets of {label, uncertain}.
        majority_certain: (i) of the rule "a label only with more than half of the probability".
        majority: (ii) of that rule.
    """

    label: Tensor
    plain_label: Tensor
    uncertain: Tensor
    undecided: Tensor
    one_bound: Tensor
    plain: Tensor
    certain: Tensor
    pairwise: Tensor
    tight: Tensor
    majority_certain: Tensor
    majority: Tensor


def two_radii(
    selection: Table,
    table: Table,
    threshold: float,
    sigma: float,
    alpha: float,
    *,
    error: float = 0.0,
) -> TwoRadii:
    """Read all radii off the counts.

    Args:
        selection: of other samples; it chooses the labels.
        table: of the samples that count.
        threshold: an edge of both tables, chosen on other images or samples.
        sigma: of the noise.
        alpha: level of each radius on its own.
        error: of the noise, `Vote.tv_error`.
    """
    chosen, votes, plain_votes = selection.votes(threshold), table.votes(threshold), table.votes()
    labels, plain_labels = chosen.labels.argmax(1), selection.votes().labels.argmax(1)
    alone, both = _one_hot(plain_labels, plain_votes), _one_hot(labels, votes)
    either = both.clone()
    either[:, :, -1] = True
    wins = chosen.labels.amax(1) > chosen.table[:, chosen.labels.shape[1] :].amax(1)
    most = votes.labels.amax(1)

    def radii(counts: Counts, sets: Sets, guarantee: Guarantee, rule: Rule = "argmax") -> Tensor:
        found, _ = radii_from_counts(counts, sets, guarantee, sigma, alpha, rule=rule, error=error)
        return found[:, 0]

    certain = radii(votes, both, Local())
    return TwoRadii(
        label=labels,
        plain_label=plain_labels,
        uncertain=votes.outcomes[:, -1] >= most,
        undecided=2 * most <= table.draws,
        one_bound=radii(plain_votes, alone, Local(), "majority"),
        plain=radii(plain_votes, alone, Local()),
        certain=torch.where(wins, certain, 0.0),
        pairwise=_pairwise(votes, labels, sigma, alpha, error),
        tight=radii(votes, either, LabelOrUncertain()),
        majority_certain=radii(votes, both, Local(), "majority"),
        majority=radii(votes, either, LabelOrUncertain(), "majority"),
    )


def best_threshold(
    selection: Table, table: Table, labels: Tensor, sigma: float, alpha: float, rejected: float
) -> float:
    """Choose the threshold with the largest mean tight radius (ii) of right images.

    On validation images, never on those that are certified.

    Args:
        selection: as in `two_radii`.
        table: as in `two_radii`.
        labels: true labels `[B]`.
        sigma: of the noise.
        alpha: level of each radius.
        rejected: at most this fraction of the images may be uncertain themselves.

    Raises:
        ValueError: every threshold rejects more.
    """
    best, found = -1.0, None
    for threshold in table.edges:
        radii = two_radii(selection, table, threshold, sigma, alpha)
        if radii.uncertain.double().mean().item() > rejected:
            continue
        mean = torch.where(radii.label == labels, radii.tight, 0.0).mean().item()
        if mean > best:
            best, found = mean, threshold
    if found is None:
        raise ValueError(
            f"every threshold from {table.edges[0]:g} to {table.edges[-1]:g} rejects more than"
            f" {rejected:g} of the images: allow more, or give higher edges"
        )
    return found


def by_radius(
    model: Model,
    images: Images,
    labels: Labels,
    score: str,
    max_rejection: float,
    *,
    sigma: float,
    seed: int = 0,
) -> float:
    """Return the threshold with the largest mean radius (ii), same label or uncertain.

    The thresholds tried are the twentieths of the scores of these images; `best_threshold`
    compares them from 1000 noise samples an image, at level 1e-3.

    Args:
        model: without a column "uncertain".
        images: validation images, never those that are certified.
        labels: of these images.
        score: of `uncertainty.scores`.
        max_rejection: largest fraction of the images that may be uncertain.
        sigma: standard deviation of the noise, above 0.
        seed: of the noise.

    Raises:
        ValueError: no noise, or every threshold rejects more.
    """
    if not sigma > 0:
        raise ValueError(
            f"a radius needs noise: give a `sigma` (--threshold-sigma) above 0; found {sigma:g}"
        )
    scores = score_of(model, images, score).double()
    fractions = torch.arange(1, 21, dtype=torch.float64) / 20
    edges = sorted({*scores[~scores.isnan()].quantile(fractions).tolist()})
    vote = Vote(model, sigma)
    selection = count(vote, images, 100, SELECT, seed, score=score, edges=edges)
    table = count(vote, images, 1000, CERTIFY, seed, score=score, edges=edges)
    return best_threshold(selection, table, labels, sigma=sigma, alpha=1e-3, rejected=max_rejection)


def _one_hot(labels: Tensor, votes: Counts) -> Sets:
    """Return the alternatives {label} of each image, `[B, 1, O]`."""
    found = torch.zeros_like(votes.outcomes, dtype=torch.bool).unsqueeze(1)
    return found.scatter(2, labels.view(-1, 1, 1), True)


def _pairwise(votes: Counts, labels: Tensor, sigma: float, alpha: float, error: float) -> Tensor:
    bounded, own = ClopperPearson(int(votes.samples[0]), error), labels.unsqueeze(1)
    low = bounded.low(votes.labels.gather(1, own), alpha / 2)
    others = votes.labels.scatter(1, own, 0)  # "uncertain" is no competitor here
    most = torch.maximum(others.amax(1), votes.broken)
    high = bounded.high(most.unsqueeze(1), alpha / 2)
    return smoothed_radius(low.unsqueeze(1), high, sigma)[:, 0]
