"""What no classifier can exceed on these data: limits of robustness.

`concentration` searches a region of given measure and label uncertainty whose expansion is small:
an estimate for the distribution, never a proof. `label_uncertainty` measures how far
annotators disagree about the points. `nearest_other_class` measures how far classes lie apart, and
`conflict_bound` proves a ceiling for the very points at hand.
"""

from surefoot.limits.concentration import Estimate, concentration
from surefoot.limits.conflicts import Ceiling, conflict_bound
from surefoot.limits.label_uncertainty import label_uncertainty, largest_gamma, uncertainty_of
from surefoot.limits.neighbours import Nearest, nearest_other_class
from surefoot.limits.repeated import Repeated, repeated, spread

__all__ = [
    "Ceiling",
    "Estimate",
    "Nearest",
    "Repeated",
    "concentration",
    "conflict_bound",
    "label_uncertainty",
    "largest_gamma",
    "nearest_other_class",
    "repeated",
    "spread",
    "uncertainty_of",
]
