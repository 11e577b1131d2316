"""Label uncertainty from few votes: smoothed, corrected, with intervals.

With V votes a point the fractions are noisy. The largest of several noisy fractions is too large on
average, so plain label uncertainty is too high where runners-up are close to each other.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Real
from scipy.optimize import minimize_scalar
from torch import Tensor

from surefoot.limits.label_uncertainty import label_uncertainty
from surefoot.stats import Interval
from surefoot.types import Labels, PerExample

MISSING = -1
"""Marks an annotator who did not see the point."""
CHUNK = 2_000_000
"""Numbers drawn at once."""
LEVEL = 0.05


@dataclass(frozen=True)
class Voted:
    """Label uncertainty from votes.

    Attributes:
        plain: of the fractions of the votes.
        smoothed: of the posterior mean, (votes + prior) / (V + C prior): pulled towards 1.
        corrected: plain minus its bias by the jackknife, clamped to [0, 2]; equal to plain where
            there is one vote. For means over many points; a single value is noisier than plain.
        low: 2.5 % quantile of the posterior, each point.
        high: 97.5 % quantile.
        mean: of `corrected`, without an interval of its own: the mean over the posterior draws
            of the mean over the points is `posterior_mean`.
        posterior_mean: with its 95 % credible interval, the points being given.
        prior: the one used, for each class.
    """

    plain: PerExample
    smoothed: PerExample
    corrected: PerExample
    low: PerExample
    high: PerExample
    mean: float
    posterior_mean: Interval
    prior: float


def count_votes(votes: Real[Tensor, "..."], classes: int) -> Float[Tensor, "B C"]:
    """Count the votes of several annotators for each class; -1 is no vote.

    Args:
        votes: class indices `[B, A]`, a column an annotator; whole numbers of any type.
        classes: their number.

    Raises:
        ValueError: votes of another shape, that are not whole (fractions, NaN), or name no class.

    Example:
        >>> count_votes(torch.tensor([[0, 2, 2], [1, -1, -1]]), 3).tolist()
        [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]
    """
    wanted = f"`votes` must be class indices in [0, {classes - 1}], or {MISSING} for no vote"
    if votes.ndim != 2 or votes.numel() == 0:
        raise ValueError(
            f"{wanted}, [B, A] with a column an annotator; found shape {tuple(votes.shape)}. Votes"
            " of a single annotator need votes[:, None]."
        )
    votes = votes.double()
    if bool(votes.isnan().any()):
        raise ValueError(
            f"{wanted}; found NaN in {int(votes.isnan().sum())} places. Where NaN marks a missing"
            f" vote, write votes.nan_to_num({MISSING})."
        )
    cut = votes != votes.round()
    if bool(cut.any()):
        raise ValueError(
            f"{wanted}; found {votes[cut][0].item():g}, which is not whole. Shares or probabilities"
            " are no votes: they belong into `probabilities` of the data."
        )
    smallest, largest = votes.min().item(), votes.max().item()
    if not MISSING <= smallest <= largest < classes:
        raise ValueError(f"{wanted}; found {smallest:g} to {largest:g}.")
    wide = torch.nn.functional.one_hot(votes.long() + 1, classes + 1)[..., 1:]
    return wide.sum(1).double()


def voted_uncertainty(
    counts: Float[Tensor, "B C"],
    labels: Labels,
    *,
    prior: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Voted:
    r"""Measure label uncertainty from counts of votes, and how far they leave it open.

    $$ \eta(x) \sim \mathrm{Dirichlet}(n_1 + a, \ldots, n_C + a) $$
    Plain label uncertainty has the bias of a maximum, upwards. The jackknife removes its part in
    1 / V: with $\mathrm{LU}_{-i}$ the value without vote i,
    $V \mathrm{LU} - (V - 1) \frac1V \sum_i \mathrm{LU}_{-i}$; exact sums, no draws.

    Holds if: votes are independent given the point. The credible intervals are about what these
    annotators would vote on average, and lean on the prior: it is the same for every point, which
    real images do not obey.

    Args:
        counts: votes for each class, whole numbers, at least one vote a point.
        labels: the class that counts as the truth of each point.
        prior: a, the same for each class, above 0; None: the likeliest one, `likely_prior`.
        draws: from the posterior.
        seed: of the draws, >= 0.

    Raises:
        ValueError: a point without votes, negative or broken counts, `prior` not above 0.

    Example:
        >>> counts = torch.tensor([[3.0, 0.0], [2.0, 1.0]])
        >>> voted_uncertainty(counts, torch.tensor([0, 0])).plain
        tensor([0.0000, 0.6667], dtype=torch.float64)
    """
    exact = counts.double().cpu()
    total = _check(exact)
    strength = likely_prior(exact) if prior is None else prior
    if not 0 < strength < float("inf") or draws < 2:
        raise ValueError(
            f"`prior` must be finite and above 0, `draws` at least 2; found {strength} and {draws}"
        )
    plain = label_uncertainty(exact / total, labels)
    posterior = exact + strength
    smoothed = label_uncertainty(posterior / posterior.sum(1, keepdim=True), labels)
    corrected = _jackknife(exact, labels, plain)
    low, high, means = _posterior(posterior, labels, draws, seed)
    ends = means.quantile(means.new_tensor([LEVEL / 2, 1 - LEVEL / 2])).tolist()
    middle = Interval(means.mean().item(), *ends)
    average = corrected.mean().item()
    return Voted(plain, smoothed, corrected, low, high, average, middle, strength)


def likely_prior(counts: Float[Tensor, "B C"]) -> float:
    r"""Return the symmetric Dirichlet prior under which the votes of all points are likeliest.

    $$ \arg\max_a \sum_x \log \frac{\Gamma(C a)}{\Gamma(V_x + C a)}
    \prod_c \frac{\Gamma(n_{xc} + a)}{\Gamma(a)} $$
    Searched in [1e-4, 1e4]; an end of it where all votes agree, or none.
    """
    n, classes = counts.double(), counts.shape[1]

    def loss(log_prior: float) -> float:
        a = n.new_tensor(log_prior).exp()
        whole = torch.lgamma(classes * a) - torch.lgamma(n.sum(1) + classes * a)
        each = torch.lgamma(n + a) - torch.lgamma(a)
        return -(whole + each.sum(1)).sum().item()

    found = minimize_scalar(loss, bounds=(math.log(1e-4), math.log(1e4)), method="bounded")
    return math.exp(found.x)  # pyright: ignore[reportAttributeAccessIssue]


def _check(counts: Tensor) -> Tensor:
    """Return the number of votes of each point, `[B, 1]`, or raise."""
    total = counts.sum(1, keepdim=True)
    wrong = ~((counts == counts.round()) & (counts >= 0) & counts.isfinite())
    if bool(wrong.any()):
        raise ValueError(
            "`counts` must be whole numbers of votes >= 0; found"
            f" {counts[wrong][0].item():g} in row {int(wrong.any(1).nonzero()[0])}. Shares must be"
            " multiplied by the number of votes."
        )
    if bool((total < 1).any()):
        raise ValueError(
            "`counts` must hold at least one vote a point; found"
            f" {int((total < 1).sum())} points without a vote. Leave these rows out."
        )
    return total


def _jackknife(counts: Tensor, labels: Tensor, plain: Tensor) -> Tensor:
    """Leave each vote out once: votes for the same class give the same value."""
    total, left_out = counts.sum(1), torch.zeros_like(plain)
    for name in range(counts.shape[1]):
        there = (counts[:, name] > 0) & (total > 1)
        fewer = counts[there].clone()
        fewer[:, name] -= 1
        if len(fewer):
            value = label_uncertainty(fewer / fewer.sum(1, keepdim=True), labels[there])
            left_out[there] += counts[there, name] / total[there] * value
    corrected = total * plain - (total - 1) * left_out
    return torch.where(total > 1, corrected, plain).clamp(0, 2)


def _posterior(
    posterior: Tensor, labels: Tensor, draws: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw from the posterior: 95 % of each point, and the mean over points of each draw."""
    stream, lows, highs = np.random.default_rng(seed), [], []
    sums = torch.zeros(draws, dtype=torch.float64)
    rows = max(1, CHUNK // (draws * posterior.shape[1]))
    for some, own in zip(posterior.split(rows), labels.cpu().split(rows), strict=True):
        gammas = torch.from_numpy(stream.standard_gamma(some.numpy(), (draws, *some.shape)))
        fractions = (gammas / gammas.sum(2, keepdim=True)).flatten(0, 1)
        values = label_uncertainty(fractions, own.repeat(draws)).view(draws, -1)
        ends = values.quantile(values.new_tensor([LEVEL / 2, 1 - LEVEL / 2]), dim=0)
        lows.append(ends[0])
        highs.append(ends[1])
        sums += values.sum(1)
    return torch.cat(lows), torch.cat(highs), sums / len(posterior)
