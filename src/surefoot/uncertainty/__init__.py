"""How sure is the model: scores, models of several members, classifiers that may be uncertain."""

from surefoot.uncertainty.dropout import DropoutEnsemble, MCDropout
from surefoot.uncertainty.due import DUE
from surefoot.uncertainty.ensemble import Ensemble
from surefoot.uncertainty.leading import Leading, logit_gap
from surefoot.uncertainty.scores import (
    MEMBER_SCORES,
    SCORES,
    energy,
    entropy,
    margin,
    max_probability,
    member_variance,
    mutual_information,
)
from surefoot.uncertainty.selective import (
    Selective,
    accepted,
    score_of,
    scored,
    threshold_at_coverage,
)

__all__ = [
    "DUE",
    "MEMBER_SCORES",
    "SCORES",
    "DropoutEnsemble",
    "Ensemble",
    "Leading",
    "MCDropout",
    "Selective",
    "accepted",
    "energy",
    "entropy",
    "logit_gap",
    "margin",
    "max_probability",
    "member_variance",
    "mutual_information",
    "score_of",
    "scored",
    "threshold_at_coverage",
]
