r"""Evidence that may be watched after every draw: e-processes for shares.

An e-process has mean at most 1 under the null whenever it is stopped, so it reaches 1 / alpha with
probability at most alpha (Ville). Each is a mixture of likelihoods over the largest likelihood that
the null allows (Robbins 1970; Wasserman, Ramdas, Balakrishnan 2020).
"""

import numpy as np
import torch
from scipy.special import betainc, betaln
from torch import Tensor

STEPS = 50
"""Halvings of the interval that holds the largest likelihood."""


def log_evidence_above(successes: int, draws: int, null: float) -> float:
    r"""Give the log e-value against "the share is at most null".

    $$ e = \frac{\int_{p^*}^1 p^{k - 1/2} (1 - p)^{n - k - 1/2} dp}
       {B_{1 - p^*}(1/2, 1/2) \; p^{*k} (1 - p^*)^{n - k}} $$
    for k / n >= p*: there p* has the largest likelihood of the null. Minus infinity below.
    """
    return log_evidence_below(draws - successes, draws, 1 - null)


def log_evidence_below(successes: int, draws: int, null: float) -> float:
    """Give the log e-value against "the share is at least null": the mirror image."""
    if successes > null * draws:
        return -np.inf
    a, b = successes + 0.5, draws - successes + 0.5
    mixed = np.log(betainc(a, b, null)) + betaln(a, b)
    mixed -= np.log(betainc(0.5, 0.5, null)) + betaln(0.5, 0.5)
    return float(mixed - successes * np.log(null) - (draws - successes) * np.log1p(-null))


def pair_log_evidence(
    member: Tensor, rival: Tensor, draws: Tensor, shift: Tensor, prior: Tensor | None = None
) -> Tensor:
    r"""Give the log e-value against "the rival can catch the member within the shift".

    The null is composite, $\Phi^{-1}(p_a) - \Phi^{-1}(p_b) \le 2 \rho$ with both masses unknown:
    $$ \log e = \log \frac{B(n_a + c_a, n_b + c_b, n_0 + c_0)}{B(c_a, c_b, c_0)}
       - \sup_{\text{null}} \, (n_a \log p_a + n_b \log p_b + n_0 \log (1 - p_a - p_b)) $$
    The supremum lies on the curve $p_a = \Phi(t), p_b = \Phi(t - 2 \rho)$, t < rho, unless the
    shares themselves obey the null. Along it the likelihood is log-concave (Phi is, and the rest is
    the mass of an interval whose ends are affine in t: Prekopa), so halving an interval by the
    slope finds it; a tangent bounds what is left, so rounding never helps the claim.

    Args:
        member: n_a, int64 of any shape.
        rival: n_b, of other copies among the same draws.
        draws: n_a + n_b + n_0.
        shift: rho > 0 (float64) in units of sigma.
        prior: c, `[..., 3]` for member, rival and the rest, from other copies: their counts and one
            half spare most of the price of not knowing the masses. None: one half each.

    Returns:
        float64; at most 0 where the shares obey the null.
    """
    a, b, n = (part.double().cpu() for part in torch.broadcast_tensors(member, rival, draws))
    rest, rho = n - a - b, shift.double().cpu()
    low, high = torch.full_like(a, -38.0), torch.zeros_like(a) + rho
    for _ in range(STEPS):
        middle = (low + high) / 2
        rising = _slope(middle, a, b, rest, rho) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    top = _likelihood(low, a, b, rest, rho)
    gain = _slope(low, a, b, rest, rho).clamp(min=0) * (high - low)
    most = top + torch.where(gain.isfinite(), gain, 0.0)
    start = torch.full((3,), 0.5) if prior is None else prior
    first, second, third = start.double().cpu().unbind(-1)
    mixed = _log_beta(a + first, b + second, rest + third) - _log_beta(first, second, third)
    found = mixed - most - 1e-9 * (1 + most.abs() * 1e-3)
    obeys = torch.special.ndtri(a / n) - torch.special.ndtri(b / n) <= 2 * rho
    return torch.where(obeys, found.clamp(max=0.0), found)


def _log_beta(*parts: Tensor) -> Tensor:
    whole = torch.stack(torch.broadcast_tensors(*parts)).sum(0)
    return sum(part.lgamma() for part in parts) - whole.lgamma()


def _ends(t: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the logs of p_a, of p_b and of the rest, an interval [t - 2 rho, -t]."""
    log_cdf = torch.special.log_ndtr
    above, below = log_cdf(-t), log_cdf(t - 2 * rho)
    rest = above + torch.log1p(-torch.exp((below - above).clamp(max=-1e-16)))
    return log_cdf(t), below, rest


def _likelihood(t: Tensor, a: Tensor, b: Tensor, rest: Tensor, rho: Tensor) -> Tensor:
    own, below, free = _ends(t, rho)
    return _times(a, own) + _times(b, below) + _times(rest, free)


def _times(count: Tensor, log: Tensor) -> Tensor:
    return torch.where(count > 0, count * log, 0.0)


def _slope(t: Tensor, a: Tensor, b: Tensor, rest: Tensor, rho: Tensor) -> Tensor:
    """Give the derivative of the log likelihood along the curve."""
    own, below, free = _ends(t, rho)
    first = -0.5 * t.square() - 0.5 * np.log(2 * np.pi)
    second = -0.5 * (t - 2 * rho).square() - 0.5 * np.log(2 * np.pi)
    loss = torch.exp(first - free) + torch.exp(second - free)
    return (
        _times(a, torch.exp(first - own))
        + _times(b, torch.exp(second - below))
        - torch.where(rest > 0, rest * loss, 0.0)
    )
