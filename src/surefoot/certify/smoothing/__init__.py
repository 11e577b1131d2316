"""Smoothing certificates: `certify` for every guarantee, full radii or decisions.

`fixed` turns counts into radii, `claims` a radius into statements about shares, `decisions` draws
until they are sure, `certificate` joins selection and decision.
"""

from surefoot.certify.smoothing.certificate import CERTIFY, DECIDE, SELECT, certify
from surefoot.certify.smoothing.decisions import Decisions, decide
from surefoot.certify.smoothing.fixed import largest_radius, majority_radii, radii_from_counts

__all__ = [
    "CERTIFY",
    "DECIDE",
    "SELECT",
    "Decisions",
    "certify",
    "decide",
    "largest_radius",
    "majority_radii",
    "radii_from_counts",
]
