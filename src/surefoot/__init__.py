"""surefoot: classifiers that must be robust and may say "I am not sure".

Train them, attack them, certify them, bound what any classifier could reach, and show the answers
in one figure. Names are imported when they are first used, so that `import surefoot` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from surefoot.version import __version__ as __version__

_HOMES = {
    "Threat": "threat",
    "Local": "guarantees",
    "TopK": "guarantees",
    "RelaxedTopK": "guarantees",
    "Affinity": "guarantees",
    "LabelOrUncertain": "guarantees",
    "Data": "data",
    "load": "data",
    "build": "models",
    "open_model": "models",
    "Selective": "uncertainty",
    "Vote": "uncertainty.vote",
    "fgsm": "attacks",
    "pgd": "attacks",
    "udp": "attacks",
    "apgd": "attacks",
    "break_guarantee": "attacks",
    "Certificates": "certify",
    "concentration": "limits",
    "label_uncertainty": "limits",
    "fit": "training",
    "Training": "training",
    "bracket": "evaluation",
    "Plain": "evaluation",
    "Smoothed": "evaluation",
    "Record": "evaluation",
    "write_page": "report",
}

__all__ = [
    "Affinity",
    "Certificates",
    "Data",
    "LabelOrUncertain",
    "Local",
    "Plain",
    "Record",
    "RelaxedTopK",
    "Selective",
    "Smoothed",
    "Threat",
    "TopK",
    "Training",
    "Vote",
    "apgd",
    "bracket",
    "break_guarantee",
    "build",
    "concentration",
    "fgsm",
    "fit",
    "label_uncertainty",
    "load",
    "open_model",
    "pgd",
    "udp",
    "write_page",
]

if TYPE_CHECKING:
    from surefoot.attacks import apgd, break_guarantee, fgsm, pgd, udp
    from surefoot.certify import Certificates
    from surefoot.data import Data, load
    from surefoot.evaluation import Plain, Record, Smoothed, bracket
    from surefoot.guarantees import Affinity, LabelOrUncertain, Local, RelaxedTopK, TopK
    from surefoot.limits import concentration, label_uncertainty
    from surefoot.models import build, open_model
    from surefoot.report import write_page
    from surefoot.threat import Threat
    from surefoot.training import Training, fit
    from surefoot.uncertainty import Selective
    from surefoot.uncertainty.vote import Vote


def __dir__() -> list[str]:
    """List what is public."""
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'surefoot' has no attribute {name!r}")
    return getattr(import_module(f"surefoot.{_HOMES[name]}"), name)
