"""GloRo nets and relaxed robustness: Leino et al. 2021, Leino and Fredrikson 2021, and others."""

from surefoot.papers.gloro import ambiguous, leino_2021, local_robustness, synthetic

SCALES = {
    **synthetic.SCALES,
    **local_robustness.SCALES,
    **ambiguous.SCALES,
    **leino_2021.SCALES,
}
