"""The sizes of the matrix, and what each guarantee is trained for."""

from dataclasses import replace

from surefoot.guarantees import Local, RelaxedTopK, TopK
from surefoot.papers.experiment import Row, at_scales
from surefoot.papers.gloro.ambiguous import FASHION, FASHION_SMALL, TOPS_AND_SHOES
from surefoot.papers.gloro.gloro_rows import SMOKE, net
from surefoot.papers.guarantee_matrix import guarantee_matrix
from surefoot.papers.smoothing.rejection_gains import FASHION as LENET
from surefoot.papers.smoothing.rejection_gains import FASHION_SMALL as LENET_SMALL
from surefoot.training import make_recipe

SIGMA, EPS = 0.25, 0.25
NETS = tuple(
    net(name, guarantee, EPS, form="bottom")
    for name, guarantee in (
        ("label", Local()),
        ("top-2 set", TopK(2)),
        ("relaxed top-2", RelaxedTopK(2)),
        ("affinity", TOPS_AND_SHOES),
    )
)
FEW = {"setting": SMOKE, "voted": replace(SMOKE, net={"name": "mlp", "inputs": 64}), "samples": 200}
SMALL = {"setting": FASHION_SMALL, "voted": replace(LENET_SMALL, test=500), "samples": 10_000}
PAPER = {"setting": FASHION, "voted": LENET, "samples": 100_000}

SCALES = {
    "matrix-fashion-mnist": at_scales(
        guarantee_matrix,
        {"smoke": FEW, "small": SMALL, "paper": PAPER},
        nets=NETS,
        noisy=Row("noise", make_recipe("noise", sigma=SIGMA)),
        eps=EPS,
    )
}
