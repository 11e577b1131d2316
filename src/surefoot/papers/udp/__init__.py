"""Uncertainty Driven Perturbations: Pagliardini et al. 2022, every table and figure."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.udp import cifar, fashion, plane

EXPERIMENTS: dict[str, Experiment] = {
    **plane.EXPERIMENTS,
    **fashion.EXPERIMENTS,
    **cifar.EXPERIMENTS,
}
