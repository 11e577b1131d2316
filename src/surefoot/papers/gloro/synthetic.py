"""The synthetic set of the seed: four crescents in the plane, and the picture of its boundaries."""

from dataclasses import replace

from surefoot.data.toys.crescents import CRESCENT_UNIT
from surefoot.guarantees import Affinity, Local, RelaxedTopK
from surefoot.papers.experiment import Experiment, Setting, at_scales
from surefoot.papers.gloro.gloro_rows import BESIDE, net
from surefoot.papers.set_tables import regions
from surefoot.training import Training

EPS = 0.2 * CRESCENT_UNIT
GROUPS = Affinity(((0, 2), (1,), (3,)))
WIDE = {"RT2": RelaxedTopK(2), "affinity": GROUPS}
NETS = (
    net("local", Local(), EPS, form="bottom", also=WIDE),
    net("RT2", RelaxedTopK(2), EPS, form="bottom"),
    net("RT2 lenient", RelaxedTopK(2), EPS, form="emma", leniency=0.5),
    net("affinity", GROUPS, EPS, form="bottom"),
)
SMALL = Setting(
    data="crescents",
    train=0,
    test=0,
    training=Training(epochs=60, batch_size=16, learning_rate=3e-3),
    net={"name": "gloro-mlp", "inputs": 2, "hidden": (100, 100), "classes": 4},
    protocol="margins",
    steps=50,
)
SIZES = {
    "smoke": replace(
        SMALL, train=100, test=20, training=replace(SMALL.training, epochs=2), steps=3
    ),
    "small": SMALL,
    "paper": replace(SMALL, training=replace(SMALL.training, epochs=500)),
}

EXPERIMENTS = {
    "gloro-synthetic": Experiment(
        source="Leino, Fredrikson 2021 (synthetic set: globally robust boundary, RT2 boundary)",
        remark=BESIDE + "Points are drawn afresh; lengths are 0.08 of the paper's, so its eps 0.2"
        " is 0.016. Lenient: pairs instead of single labels that may be wrong, so strict VRA rises"
        " and local VRA falls. The authors' tests ask for VRA above .80 and relaxed VRA above .85.",
        scales=at_scales(regions, SIZES, nets=NETS, eps=EPS),
    ),
}
