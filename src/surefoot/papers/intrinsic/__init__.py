"""Zhang and Evans 2022 and what it builds on: limits of robustness, label uncertainty, errors."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.intrinsic import curves, regions, tables

EXPERIMENTS: dict[str, Experiment] = {
    **tables.EXPERIMENTS,
    **curves.EXPERIMENTS,
    **regions.EXPERIMENTS,
}
