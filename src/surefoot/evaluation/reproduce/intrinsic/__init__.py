"""Zhang and Evans 2022 and what it builds on: limits of robustness, label uncertainty, errors."""

from surefoot.evaluation.reproduce.experiment import Experiment
from surefoot.evaluation.reproduce.intrinsic import curves, regions, tables

EXPERIMENTS: dict[str, Experiment] = {
    **tables.EXPERIMENTS,
    **curves.EXPERIMENTS,
    **regions.EXPERIMENTS,
}
