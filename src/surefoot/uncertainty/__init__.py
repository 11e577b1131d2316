"""How certain a model is: `scores`, models of several members, classifiers that may reject."""

from surefoot.uncertainty.dropout import DropoutEnsemble, MCDropout
from surefoot.uncertainty.due import DUE
from surefoot.uncertainty.ensemble import Ensemble
from surefoot.uncertainty.logit_margin import LogitMarginSelective, logit_gap
from surefoot.uncertainty.selection import (
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
    "DropoutEnsemble",
    "Ensemble",
    "LogitMarginSelective",
    "MCDropout",
    "Selective",
    "Tempered",
    "accepted",
    "by_coverage",
    "by_risk",
    "fit_temperature",
    "grid_for",
    "logit_gap",
    "noisy",
    "score_of",
    "scored",
    "tempered",
    "threshold_at_coverage",
    "threshold_at_risk",
]
