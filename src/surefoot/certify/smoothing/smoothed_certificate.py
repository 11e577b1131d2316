r"""Certificates for the vote under Gaussian noise: full radii, or decisions at given ones.

Cohen, Rosenfeld, Kolter 2019 (one class); Daeubener et al. 2024 (label or uncertain). Two stages:
`n_select` samples choose what is tested, fresh ones decide it. Each certificate holds with
probability at least 1 - alpha, for each image on its own.
"""

from typing import Any

import torch

from surefoot.certify.certificates import Certificates
from surefoot.certify.smoothing.decisions import decide
from surefoot.certify.smoothing.fixed import radii_from_counts
from surefoot.certify.smoothing.hypotheses import chosen
from surefoot.certify.smoothing.sampling import CERTIFY, SELECT, Sampling
from surefoot.certify.smoothing.tolerance import radii_within
from surefoot.guarantees import Guarantee, check_model
from surefoot.models.border import check_rows
from surefoot.types import Images, Model, box_of, checked_images
from surefoot.uncertainty import majority
from surefoot.uncertainty.vote import Rule, Vote


def certify(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    sigma: float,
    rule: Rule = "argmax",
    levels: int = 0,
    **settings: Any,
) -> Certificates:
    """Certify l2 radii of the vote under N(0, sigma^2 I).

    Holds if the noise is added in pixel units before any normalisation, nothing (threshold, sigma,
    sets) was tuned on this noise, and outcomes of the rows of a batch are independent of each other
    (`models.border` tries that). Two things are not covered: images that were searched for knowing
    the seed (the noise is keyed by content; draw the seed afterwards, `streams.system_seed`), and
    nets that read the last bits of floating-point noise (take `levels`).

    Args:
        model: the base classifier.
        images: inside the box.
        guarantee: what must not change about the vote.
        sigma: standard deviation of the noise.
        rule: how probabilities become an outcome, see `Vote`.
        levels: grid of the noise, see `Vote`.
        settings: the fields of `Sampling`: alpha, radii, tolerance, n_select, n_certify, seed,
            batch_size and value_range.

    Returns:
        certificates; `details` holds the counts of both stages, the level of each bound and, for
        `LabelOrUncertain` (but for full radii of the rule majority), `accepted`: certified, jointly
        with the radius, that a label wins.
    """
    return certify_vote(Vote(model, sigma, levels, rule), images, guarantee, Sampling(**settings))


def certify_vote(
    vote: Vote, images: Images, guarantee: Guarantee, sampling: Sampling
) -> Certificates:
    """Certify l2 radii of a vote, see `certify`."""
    images = checked_images(images, *box_of(sampling.value_range))
    check_vote(vote, guarantee)
    if not vote.sigma > 0:
        raise ValueError(
            f"a smoothing certificate needs noise: `sigma` above 0; found {vote.sigma}"
        )
    check_rows(vote.model, images)
    how = {"batch_size": sampling.batch_size}
    selection = vote.counts(images, sampling.n_select, SELECT, sampling.seed, **how)
    sets = guarantee.sets(selection.outcomes.double())
    if sampling.radii is not None:
        best = chosen(selection, sets).view(-1, 1, 1).expand(-1, 1, sets.shape[2])
        sets = sets.gather(1, best)
        found = decide(vote, images, selection, sets, guarantee, sampling)
        radii, samples, more = found.radius.unsqueeze(1), found.samples, found.details
    elif sampling.tolerance is not None:
        radii, samples, more = radii_within(vote, images, sets, guarantee, sampling)
    else:
        counts = vote.counts(images, sampling.n_certify, CERTIFY, sampling.seed, **how)
        radii, more = radii_from_counts(
            counts,
            sets,
            guarantee,
            vote.sigma,
            sampling.alpha,
            rule=vote.rule,
            error=vote.tv_error(images) or 0.0,
        )
        samples, more = torch.full((len(images),), sampling.n_certify), more | {"counts": counts}
    details = {
        "method": "smoothing",
        "rule": vote.rule,
        "test": "fixed" if sampling.radii is None else "group-sequential",
        "sigma": vote.sigma,
        "alpha": sampling.alpha,
        "n_select": sampling.n_select,
        "n_certify": sampling.n_certify,
        "tv_error": vote.tv_error(images),
        "selection": selection,
    }
    return Certificates(radii, sets, sampling.n_select + samples, details | more)


def check_vote(vote: Vote, guarantee: Guarantee) -> None:
    """Raise unless the guarantee can hold for the vote."""
    check_model(guarantee, vote.model)
    if vote.rule == "majority":
        majority.check(guarantee)
