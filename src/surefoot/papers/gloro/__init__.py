"""GloRo nets and relaxed robustness: Leino et al. 2021, Leino and Fredrikson 2021, and beyond."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.gloro import ambiguous, local, plane, seed

EXPERIMENTS: dict[str, Experiment] = {
    **plane.EXPERIMENTS,
    **local.EXPERIMENTS,
    **ambiguous.EXPERIMENTS,
    **seed.EXPERIMENTS,
}
