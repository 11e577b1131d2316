r"""A third notion beside top-k sets: one label stays among the k best outcomes of the vote.

Jia, Cao, Wang, Gong 2020. `TopK` asks that the whole set stays; here its other members may change.
"""

import torch
from torch import Tensor

from surefoot.guarantees import tolerated_shift
from surefoot.stats import lower_bound, upper_bound


def label_in_top_k(masses: Tensor, labels: Tensor, k: int, sigma: float) -> Tensor:
    r"""Give the l2 radius within which the label stays among the k heaviest outcomes.

    $$ R = \sigma \max_{s \le k} \rho_s, \qquad
       \Phi(\Phi^{-1}(p_l) - \rho_s) = \Phi(\Phi^{-1}(p_{S_s}) + \rho_s) / s $$
    with $S_s$ the s lightest of the k heaviest rivals: all of them must pass the label to push it
    out, and together they have no more mass than that. Tight for exact masses; insert a lower bound
    for the label and upper bounds for the rivals (simultaneous ones, alpha / C each).

    Args:
        masses: of the outcomes, `[B, O]`.
        labels: `[B]`.
        k: from 1 to O - 1.
        sigma: of the noise.

    Returns:
        float64 radii `[B]`, rounded down; 0 where the label is not among the k best.

    Reference: Jia et al. 2020, Theorem 1.
    """
    if not 1 <= k < masses.shape[1]:
        raise ValueError(f"`k` must lie in [1, {masses.shape[1] - 1}]; found {k}")
    masses = masses.double()
    own = masses.gather(1, labels.unsqueeze(1))
    rivals = masses.scatter(1, labels.unsqueeze(1), -1.0).topk(k, dim=1).values
    lightest = rivals.flip(1).clamp(min=0).cumsum(1).minimum(1 - own)
    sizes = torch.arange(1, k + 1, device=masses.device)
    shift = _root(own.expand_as(lightest), lightest, sizes)
    return sigma * shift.amax(1)


def certified_in_top_k(
    counts: Tensor, labels: Tensor, k: int, sigma: float, alpha: float
) -> Tensor:
    """Give that radius from counts, with probability at least 1 - alpha for each image.

    All bounds hold together, alpha / O each: the radius is a maximum over groups of rivals, and any
    of the bounds can make it false.

    Args:
        counts: `[B, O + 1]`; broken copies, in the last column, are a rival as well.
        labels: `[B]`, not chosen on these counts.
        k: from 1 to O.
        sigma: of the noise.
        alpha: level.
    """
    trials, level = int(counts[0].sum()), alpha / counts.shape[1]
    own = labels.unsqueeze(1)
    low, high = lower_bound(counts, trials, level), upper_bound(counts, trials, level)
    return label_in_top_k(high.scatter(1, own, low.gather(1, own)), labels, k, sigma)


def in_most_copies(
    places: Tensor, labels: Tensor, draws: int, sigma: float, alpha: float
) -> Tensor:
    r"""Give the radius within which the label is among the k best of more than half of the copies.

    $$ R = \sigma \Phi^{-1}(P(l \in \text{the k best labels of } f(x + e))) $$
    Another vote than that of `label_in_top_k`: each copy names k labels here. One share, level
    alpha.

    Args:
        places: `[B, C]`, copies that have the class among their k best (`Table.places[:, k - 1]`).
        labels: `[B]`, not chosen on these counts.
        draws: copies of an image.
        sigma: of the noise.
        alpha: level.
    """
    low = lower_bound(places.gather(1, labels.unsqueeze(1)).squeeze(1), draws, alpha)
    return sigma * tolerated_shift(low, 1 - low)


def _root(mass: Tensor, rivals: Tensor, sizes: Tensor) -> Tensor:
    """Halve an interval of shifts; the lower end is kept."""
    low = torch.zeros_like(mass)
    high = torch.full_like(mass, 40.0)
    lead, chase = torch.special.ndtri(mass), torch.special.ndtri(rivals)
    for _ in range(80):
        middle = (low + high) / 2
        ahead = torch.special.log_ndtr(lead - middle) > (
            torch.special.log_ndtr(chase + middle) - sizes.log()
        )
        low, high = torch.where(ahead, middle, low), torch.where(ahead, high, middle)
    error = 1e-12 * (1 + lead.abs() + chase.abs()).clamp(max=1e3)
    return torch.where(mass > rivals / sizes, (low - error).clamp(min=0), 0.0)
