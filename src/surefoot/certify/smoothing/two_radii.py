r"""Every estimator of "robust, or uncertain" from one table of counts, for any threshold.

Daeubener et al. 2024 give a classifier with an outcome "uncertain" two radii, (i) same label and
still certain, (ii) same label or uncertain. What (ii) gains depends on how it is read and on what
it is compared with, so all estimators stand beside each other, and beside plain smoothing with one
and with two bounds. Each radius holds on its own with probability at least 1 - alpha.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.smoothing.fixed import radii_from_counts
from surefoot.certify.smoothing.table import Table
from surefoot.guarantees import Guarantee, LabelOrUncertain, Local, smoothed_radius
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Sets
from surefoot.uncertainty.vote import Rule


class TwoRadii(NamedTuple):
    """Radii of each image at one threshold, `[B]` float64; 0 = nothing.

    Args:
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
    chosen, votes = selection.votes(threshold), table.votes(threshold)
    labels = chosen[:, :-2].argmax(1)
    plain_labels = selection.votes()[:, :-1].argmax(1)
    alone, both = _one_hot(plain_labels, selection.votes()), _one_hot(labels, chosen)
    either = both.clone()
    either[:, :, -1] = True
    wins = (chosen.gather(1, labels.unsqueeze(1)) > chosen[:, -2:]).all(1)
    plain_votes = table.votes()

    def radii(counts: Tensor, sets: Sets, guarantee: Guarantee, rule: Rule = "argmax") -> Tensor:
        found, _ = radii_from_counts(counts, sets, guarantee, sigma, alpha, rule=rule, error=error)
        return found[:, 0]

    certain = radii(votes, both, Local())
    return TwoRadii(
        label=labels,
        plain_label=plain_labels,
        uncertain=votes[:, -2] >= votes[:, :-2].amax(1),
        undecided=2 * votes[:, :-2].amax(1) <= table.draws,
        one_bound=radii(plain_votes, alone, Local(), "majority"),
        plain=radii(plain_votes, alone, Local()),
        certain=torch.where(wins, certain, 0.0),
        pairwise=_pairwise(votes, both[:, 0], sigma, alpha, error),
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


def _one_hot(labels: Tensor, votes: Tensor) -> Sets:
    """Return the alternatives {label} of each image, `[B, 1, O]`."""
    found = torch.zeros(len(votes), 1, votes.shape[1] - 1, dtype=torch.bool)
    return found.scatter(2, labels.view(-1, 1, 1), True)


def _pairwise(votes: Tensor, members: Tensor, sigma: float, alpha: float, error: float) -> Tensor:
    trials = int(votes[0].sum())
    inside = torch.cat([members, torch.zeros_like(members[:, :1])], 1)
    low = lower_bound(votes, trials, alpha / 2).masked_fill(~inside, 0.0).amax(1)
    low = (low - error).clamp(min=0)
    beside = inside.clone()
    beside[:, -2] = True  # "uncertain" is no competitor here
    high = upper_bound(votes, trials, alpha / 2).masked_fill(beside, 0.0).amax(1)
    high = (high + error).clamp(max=1)
    return smoothed_radius(low.view(-1, 1, 1), high.unsqueeze(1), sigma)[:, 0]
