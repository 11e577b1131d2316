r"""Certificates for the vote under Gaussian noise: full radii, or decisions at given ones.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). Two stages:
`n_select` samples choose what is claimed, fresh ones decide it. Each claim holds with probability
at least 1 - alpha, for each image on its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from surefoot.certify.certificates import Certificates
from surefoot.certify.smoothing.decisions import PLAIN, Decisions, decide
from surefoot.certify.smoothing.fixed import radii_from_counts
from surefoot.certify.smoothing.hypotheses import chosen
from surefoot.certify.smoothing.procedure import Procedure
from surefoot.certify.smoothing.tolerance import radii_within
from surefoot.guarantees import Guarantee, check_model
from surefoot.models.border import check_rows
from surefoot.types import Images, Model, Sets, checked_images
from surefoot.uncertainty.vote import Vote

SELECT, CERTIFY, DECIDE = 1, 2, 3
"""Purposes of the noise streams: they never meet."""


def certify(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    sigma: float,
    alpha: float = 1e-3,
    radii: Sequence[float] | None = None,
    how: Procedure = PLAIN,
    n_select: int = 100,
    n_certify: int = 100_000,
    seed: int = 0,
    batch_size: int = 2000,
) -> Certificates:
    """Certify l2 radii of the vote under N(0, sigma^2 I).

    Holds if the noise is added in pixel units before any normalisation, nothing (threshold, sigma,
    sets) was tuned on this noise, and outcomes of the rows of a batch are independent of each other
    (`models.border` tries that). Two things are not covered: images that were searched for knowing
    the seed (the noise is keyed by content; draw the seed afterwards, `streams.system_seed`), and
    nets that read the last bits of floating-point noise (`levels` of `Procedure`).

    Args:
        model: the base classifier.
        images: inside the box.
        guarantee: what must not change about the vote.
        sigma: standard deviation of the noise.
        alpha: probability that the claim about an image is wrong.
        radii: None: the largest radius of each alternative, from `n_certify` samples of each image.
            Radii: which of them hold, for the alternative that the selection likes best; drawn
            until that is sure, mostly a few hundred samples.
        how: rule, tolerance and noise; see `Procedure`.
        n_select: samples that choose the sets.
        n_certify: samples that are counted, or the most that a decision may take.
        seed: of the noise; one stream an image, so results do not depend on batches. Where images
            come from an adversary, take one that they cannot know: `streams.system_seed()`.
        batch_size: samples in one pass; memory does not grow with `n_certify`.

    Returns:
        certificates; `details` holds the counts of both stages, the level of each bound and, for
        `LabelOrUncertain` (but for full radii of the rule majority), `accepted`: certified, jointly
        with the radius, that a label wins.
    """
    images = checked_images(images)
    check_model(guarantee, model)
    _check(sigma, alpha, n_select, n_certify)
    how.check(guarantee, decides=radii is not None)
    check_rows(model, images)
    vote = Vote(model, sigma, how.levels, how.rule)
    selection = vote.counts(images, n_select, SELECT, seed, batch_size=batch_size)
    sets = guarantee.sets(selection[:, :-1].double())
    details = {
        "method": "smoothing",
        "rule": how.rule,
        "test": "fixed" if radii is None else "group-sequential",
        "sigma": sigma,
        "alpha": alpha,
        "n_select": n_select,
        "n_certify": n_certify,
        "tv_error": vote.tv_error(images),
        "selection": selection,
    }
    shared = {"alpha": alpha, "draws": n_certify, "batch_size": batch_size}
    if radii is not None:
        grid, key = _grid(radii), (DECIDE, seed)
        sets = _one(sets, selection)
        found = decide(
            vote, images, selection, sets, guarantee, radii=grid, key=key, how=how, **shared
        )
        details |= _decided(found, grid, images)
        return Certificates(found.radius.unsqueeze(1), sets, n_select + found.samples, details)
    if how.tolerance is not None:
        key = (CERTIFY, seed)
        full, samples, more = radii_within(
            vote, images, sets, guarantee, key=key, how=how, **shared
        )
        return Certificates(full, sets, n_select + samples, details | more)
    counts = vote.counts(images, n_certify, CERTIFY, seed, batch_size=batch_size)
    full, more = radii_from_counts(
        counts, sets, guarantee, sigma, alpha, rule=how.rule, error=details["tv_error"] or 0.0
    )
    samples = torch.full((len(images),), n_select + n_certify)
    return Certificates(full, sets, samples, details | more | {"counts": counts})


def _decided(found: Decisions, grid: list[float], images: Tensor) -> dict[str, object]:
    """Describe what decisions rest on."""
    budget = "alpha for all radii together (nested claims), and for each test of a part"
    details: dict[str, object] = {"counts": found.counts.to(images.device), "radii": grid}
    if found.accepted is None:
        return details | {"error_budget": budget}
    return details | {"error_budget": f"{budget}; with acceptance half", "accepted": found.accepted}


def _check(sigma: float, alpha: float, n_select: int, n_certify: int) -> None:
    """Raise on settings without a certificate."""
    if n_select < 1 or n_certify < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"need n_select >= 1, n_certify >= 1, 0 < alpha < 1; found {n_select}, {n_certify},"
            f" {alpha}"
        )
    if not sigma > 0:
        raise ValueError(f"a smoothing certificate needs noise: `sigma` above 0; found {sigma}")


def _grid(radii: Sequence[float]) -> list[float]:
    grid = sorted(float(radius) for radius in radii)
    if not grid or not 0 < grid[0] <= grid[-1] < float("inf"):
        raise ValueError(f"`radii` must be finite and above 0; found {tuple(radii)}")
    return grid


def _one(sets: Sets, selection: Tensor) -> Sets:
    """Keep the alternative that the selection likes best, `[B, 1, O]`."""
    best = chosen(selection, sets).view(-1, 1, 1).expand(-1, 1, sets.shape[2])
    return sets.gather(1, best)
