"""How certain a model is: scores, models of several members, classifiers that may be uncertain."""

from surefoot.uncertainty.dropout import DropoutEnsemble, MCDropout
from surefoot.uncertainty.due import DUE
from surefoot.uncertainty.ensemble import Ensemble
from surefoot.uncertainty.logit_margin import LogitMarginSelective, logit_gap
from surefoot.uncertainty.scores import (
    MEMBER_SCORES,
    PROCESS_SCORES,
    SCORES,
    bounded_variance,
    energy,
    entropy,
    least_confidence,
    margin_uncertainty,
    member_variance,
    mutual_information,
    vacuity,
    vote_disagreement,
)
from surefoot.uncertainty.selection import (
    RiskThreshold,
    by_coverage,
    by_risk,
    grid_for,
    noisy,
    tempered,
    threshold_at_coverage,
    threshold_at_risk,
)
from surefoot.uncertainty.selective import (
    Selective,
    accepted,
    score_of,
    scored,
)
from surefoot.uncertainty.temperature import Tempered, fit_temperature

__all__ = [
    "DUE",
    "MEMBER_SCORES",
    "PROCESS_SCORES",
    "SCORES",
    "DropoutEnsemble",
    "Ensemble",
    "LogitMarginSelective",
    "MCDropout",
    "RiskThreshold",
    "Selective",
    "Tempered",
    "accepted",
    "bounded_variance",
    "by_coverage",
    "by_risk",
    "energy",
    "entropy",
    "fit_temperature",
    "grid_for",
    "least_confidence",
    "logit_gap",
    "margin_uncertainty",
    "member_variance",
    "mutual_information",
    "noisy",
    "score_of",
    "scored",
    "tempered",
    "threshold_at_coverage",
    "threshold_at_risk",
    "vacuity",
    "vote_disagreement",
]
