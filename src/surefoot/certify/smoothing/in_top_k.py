r"""A third notion beside top-k sets: one label stays among the k best outcomes of the vote.

Jia, Cao, Wang, Gong 2020. `TopK` asks that the whole set stays; here its other members may change.
"""

import torch
from torch import Tensor


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
