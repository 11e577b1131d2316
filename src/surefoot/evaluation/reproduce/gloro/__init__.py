"""GloRo nets and relaxed robustness: Leino et al. 2021, Leino and Fredrikson 2021, and beyond."""

from surefoot.evaluation.reproduce.experiment import Experiment
from surefoot.evaluation.reproduce.gloro import ambiguous, local, plane, seed

EXPERIMENTS: dict[str, Experiment] = {
    **plane.EXPERIMENTS,
    **local.EXPERIMENTS,
    **ambiguous.EXPERIMENTS,
    **seed.EXPERIMENTS,
}
