"""Zhang and Evans 2022 and what it builds on: limits of robustness, label uncertainty, errors."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.intrinsic import cifar10h, limit_tables

EXPERIMENTS: dict[str, Experiment] = {**limit_tables.EXPERIMENTS, **cifar10h.EXPERIMENTS}
