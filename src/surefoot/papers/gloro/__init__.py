"""GloRo nets and relaxed robustness: Leino et al. 2021, Leino and Fredrikson 2021, and beyond."""

from surefoot.papers.experiment import Experiment
from surefoot.papers.gloro import ambiguous, leino_2021, local_robustness, synthetic

EXPERIMENTS: dict[str, Experiment] = {
    **synthetic.EXPERIMENTS,
    **local_robustness.EXPERIMENTS,
    **ambiguous.EXPERIMENTS,
    **leino_2021.EXPERIMENTS,
}
