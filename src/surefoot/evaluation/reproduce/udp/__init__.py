"""Uncertainty Driven Perturbations: Pagliardini et al. 2022, every table and figure."""

from surefoot.evaluation.reproduce.experiment import Experiment
from surefoot.evaluation.reproduce.udp import cifar, fashion, plane

EXPERIMENTS: dict[str, Experiment] = {
    **plane.EXPERIMENTS,
    **fashion.EXPERIMENTS,
    **cifar.EXPERIMENTS,
}
