"""How sure is the model: scores, and classifiers that may answer "uncertain"."""

from surefoot.uncertainty.dropout import MCDropout
from surefoot.uncertainty.scores import SCORES, energy, entropy, margin, max_probability
from surefoot.uncertainty.selective import Selective, accepted, threshold_at_coverage

__all__ = [
    "SCORES",
    "MCDropout",
    "Selective",
    "accepted",
    "energy",
    "entropy",
    "margin",
    "max_probability",
    "threshold_at_coverage",
]
