"""Uncertainty Driven Perturbations: Pagliardini et al. 2022, every table and figure."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.udp import image_tables, udp_toys

EXPERIMENTS: dict[str, Experiment] = {**udp_toys.EXPERIMENTS, **image_tables.EXPERIMENTS}
