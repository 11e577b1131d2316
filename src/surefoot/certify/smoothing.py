r"""Certificates for the vote under Gaussian noise, for every guarantee, from one table of counts.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). The sets are
fixed on `n_select` noisy copies; bounds come from `n_certify` fresh ones. A rival's bound is at the
level of one bound, not of one bound a rival: only the true strongest rival can make the claim
false (intersection-union). A maximum over several pairs (alternatives, subsets) is a union of
failure events, and pays for each of them.

Each claim "radius >= R" holds with probability at least 1 - alpha, for each image on its own.
Not here: stopping early, sound integer noise.
"""

from itertools import chain, combinations

import torch
from torch import Tensor

from surefoot.certify.certificates import Certificates
from surefoot.guarantees import Guarantee, check_model, tolerated_shift
from surefoot.stats import lower_bound, upper_bound
from surefoot.types import Images, Model, Sets, check_images
from surefoot.uncertainty.vote import Vote

SELECT, CERTIFY = 1, 2
"""Purposes of the noise streams: they never meet."""


def certify(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    sigma: float,
    alpha: float = 1e-3,
    n_select: int = 100,
    n_certify: int = 100_000,
    seed: int = 0,
    batch_size: int = 2000,
) -> Certificates:
    """Certify the largest l2 radius of each alternative for the vote under N(0, sigma^2 I).

    Holds if the noise is added in pixel units before any normalisation, and nothing (threshold,
    sigma, sets) was tuned on this noise.

    Args:
        model: the base classifier.
        images: inside the box.
        guarantee: what must not change about the vote.
        sigma: standard deviation of the noise.
        alpha: probability that the claim about an image is wrong.
        n_select: copies that fix the sets.
        n_certify: copies that are counted.
        seed: of the noise; one stream an image, so results do not depend on batches.
        batch_size: copies in one pass; memory does not grow with `n_certify`.

    Returns:
        certificates; `details` holds the counts of both stages, the level of each bound and, for
        selective classifiers, `accepted`: certified (jointly with the radius) that a label wins.
    """
    check_images(images)
    check_model(guarantee, model)
    if n_select < 1 or n_certify < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"need n_select >= 1, n_certify >= 1, 0 < alpha < 1; found {n_select}, {n_certify},"
            f" {alpha}"
        )
    if not sigma > 0:
        raise ValueError(f"a smoothing certificate needs noise: `sigma` above 0; found {sigma}")
    vote = Vote(model, sigma)
    selection = vote.counts(images, n_select, SELECT, seed, batch_size=batch_size)
    counts = vote.counts(images, n_certify, CERTIFY, seed, batch_size=batch_size)
    sets = guarantee.sets(selection[:, :-1].double())
    radii, details = radii_from_counts(counts, sets, guarantee, sigma, alpha)
    samples = torch.full((len(images),), n_select + n_certify)
    details |= {
        "method": "smoothing",
        "sigma": sigma,
        "alpha": alpha,
        "n_select": n_select,
        "n_certify": n_certify,
        "selection": selection,
        "counts": counts,
    }
    return Certificates(radii, sets, samples, details)


def largest_radius(sigma: float, n_certify: int, alpha: float) -> float:
    r"""Give the radius that a vote of all copies for one outcome would certify, for `Local`.

    $$ \sigma \Phi^{-1}((\alpha / 2)^{1 / n}) $$
    """
    low = lower_bound(torch.tensor([float(n_certify)]), n_certify, alpha / 2)
    return sigma * tolerated_shift(low, 1 - low).item()


def radii_from_counts(
    counts: Tensor, sets: Sets, guarantee: Guarantee, sigma: float, alpha: float
) -> tuple[Tensor, dict[str, object]]:
    """Turn counts into radii that hold together, over all alternatives, at level alpha.

    Args:
        counts: `[B, O + 1]`; the last column counts copies without a finite outcome, a rival of
            every set. Rows must have equal sums.
        sets: alternatives `[B, A, O]`, not chosen on these counts.
        guarantee: gives the quantifier.
        sigma: of the noise.
        alpha: level of the joint claim.

    Returns:
        radii `[B, A]`, and what they rest on.
    """
    trials = int(counts[0].sum())
    inside = torch.cat([sets, torch.zeros_like(sets[:, :, :1])], 2)
    if guarantee.quantifier == "every":
        return _every(counts, inside, trials, sigma, alpha)
    return _some(counts, inside, trials, sigma, alpha)


def _every(
    counts: Tensor, inside: Tensor, trials: int, sigma: float, alpha: float
) -> tuple[Tensor, dict[str, object]]:
    """Two bounds for each alternative: its weakest member and its strongest outsider."""
    pairs = inside.any(2).sum(1).clamp(min=1)
    shift = torch.zeros(inside.shape[:2], dtype=torch.float64, device=counts.device)
    for many in pairs.unique().tolist():
        rows = pairs == many
        level = alpha / (2 * many)
        low = lower_bound(counts[rows], trials, level)
        high = upper_bound(counts[rows], trials, level)
        member = low.unsqueeze(1).masked_fill(~inside[rows], 1.0).amin(2)
        rival = high.unsqueeze(1).masked_fill(inside[rows], 0.0).amax(2)
        shift[rows] = tolerated_shift(member, torch.minimum(rival, 1 - member))
    radii = torch.where(inside.any(2), sigma * shift, 0.0)
    return radii, {"ledger": "alpha / (2 m) for each bound, m available alternatives"}


def _some(
    counts: Tensor, inside: Tensor, trials: int, sigma: float, alpha: float
) -> tuple[Tensor, dict[str, object]]:
    """Bound every subset of {label, uncertain} by its own count; the rival by one bound.

    One more bound, on "uncertain", says jointly whether a label wins at the image itself.
    """
    members = inside[:, 0].float().topk(2, dim=1).indices.sort(1).values
    subsets = list(chain.from_iterable(combinations(range(2), size) for size in (1, 2)))
    level = alpha / (len(subsets) + 2)
    own = counts.gather(1, members)
    high = upper_bound(counts, trials, level)
    rival = high.masked_fill(inside[:, 0], 0.0).amax(1)
    shifts = []
    for subset in subsets:
        low = lower_bound(own[:, list(subset)].sum(1), trials, level)
        shifts.append(tolerated_shift(low, torch.minimum(rival, 1 - low), len(subset)))
    label_low = lower_bound(own[:, 0], trials, level)
    uncertain = counts.shape[1] - 2
    accepted = label_low > torch.maximum(high[:, uncertain], rival)
    radii = sigma * torch.stack(shifts).amax(0)
    radii = torch.where(inside[:, 0].any(1), radii, 0.0).unsqueeze(1)
    return radii, {"ledger": "alpha / 5 for each bound", "accepted": accepted}
