"""Smoothing certificates: `certify` for every guarantee, full radii or decisions.

`certificate` joins selection and decision, `procedure` holds its choices. `fixed` turns counts into
radii, `tolerance` stops drawing when they are close; `claims` turns a radius into statements about
shares and `decisions` draws until they are sure. `table` counts
labels and scores once for every threshold: `two_radii` reads radii off it, `scores` bounds of the
uncertainty; `dataset` speaks of many images.
"""

from surefoot.certify.smoothing.certificate import CERTIFY, DECIDE, SELECT, certify
from surefoot.certify.smoothing.dataset import robust_fraction, robust_images
from surefoot.certify.smoothing.decisions import Decisions, decide
from surefoot.certify.smoothing.fixed import largest_radius, radii_from_counts
from surefoot.certify.smoothing.procedure import Procedure
from surefoot.certify.smoothing.scores import distribution_bounds, mean_bounds, quantile_bounds
from surefoot.certify.smoothing.table import UNIT, Table, count
from surefoot.certify.smoothing.threshold import by_radius
from surefoot.certify.smoothing.two_radii import TwoRadii, best_threshold, two_radii

__all__ = [
    "CERTIFY",
    "DECIDE",
    "SELECT",
    "UNIT",
    "Decisions",
    "Procedure",
    "Table",
    "TwoRadii",
    "best_threshold",
    "by_radius",
    "certify",
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
