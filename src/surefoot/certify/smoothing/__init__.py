"""Smoothing certificates: `certify` for every guarantee, full radii or decisions.

`smoothed_certificate` joins selection and decision, `sampling` holds their settings. `fixed` turns
counts into radii, `tolerance` stops drawing when they are close; `hypotheses` turns a radius into
statements about probabilities and `decisions` draws until they are certain. `table` counts labels
and scores once for every threshold: `two_radii` reads radii off it, `score_bounds` bounds of the
uncertainty; `many_images` bounds how many certificates hold together.
"""

from surefoot.certify.smoothing.decisions import Decisions, decide
from surefoot.certify.smoothing.fixed import largest_radius, radii_from_counts
from surefoot.certify.smoothing.many_images import robust_fraction, robust_images
from surefoot.certify.smoothing.sampling import CERTIFY, DECIDE, SELECT, Sampling
from surefoot.certify.smoothing.score_bounds import (
    distribution_bounds,
    mean_bounds,
    quantile_bounds,
)
from surefoot.certify.smoothing.smoothed_certificate import certify, certify_vote, check_vote
from surefoot.certify.smoothing.table import UNIT, Table, count
from surefoot.certify.smoothing.two_radii import TwoRadii, best_threshold, by_radius, two_radii

__all__ = [
    "CERTIFY",
    "DECIDE",
    "SELECT",
    "UNIT",
    "Decisions",
    "Sampling",
    "Table",
    "TwoRadii",
    "best_threshold",
    "by_radius",
    "certify",
    "certify_vote",
    "check_vote",
    "count",
    "decide",
    "distribution_bounds",
    "largest_radius",
    "mean_bounds",
    "quantile_bounds",
    "radii_from_counts",
    "robust_fraction",
    "robust_images",
    "two_radii",
]
