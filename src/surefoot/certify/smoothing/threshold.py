"""Which score a smoothed classifier still accepts, chosen by the radius that it leaves.

`uncertainty.selection` chooses by coverage and by risk; the radius needs a certificate.
"""

import torch

from surefoot.certify.smoothing.certificate import CERTIFY, SELECT
from surefoot.certify.smoothing.table import count
from surefoot.certify.smoothing.two_radii import best_threshold
from surefoot.types import Images, Labels, Model
from surefoot.uncertainty.selective import score_of
from surefoot.uncertainty.vote import Vote


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
