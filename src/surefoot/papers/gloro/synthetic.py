"""The synthetic set of the paper: four crescents in the plane, and a figure of its boundaries."""

from dataclasses import replace

from surefoot.data.toys.crescents import CRESCENT_UNIT
from surefoot.guarantees import Affinity, Local, RelaxedTopK
from surefoot.papers.experiment import Setting, at_scales
from surefoot.papers.gloro.gloro_rows import net
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

SCALES = {
    "gloro-synthetic": at_scales(regions, SIZES, nets=NETS, eps=EPS),
}
