"""The sizes of the matrix, and what each guarantee is trained for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from surefoot.guarantees import Affinity, Local, RelaxedTopK, TopK
from surefoot.papers.experiment import Row, Setting, at_scales
from surefoot.papers.gloro.ambiguous import FASHION, FASHION_SMALL, TOPS_AND_SHOES
from surefoot.papers.gloro.gloro_rows import SMOKE, net
from surefoot.papers.guarantee_matrix import Column, guarantee_matrix
from surefoot.papers.set_tables import CertifiedNet
from surefoot.papers.smoothing.rejection_gains import FASHION as LENET
from surefoot.papers.smoothing.rejection_gains import FASHION_SMALL as LENET_SMALL
from surefoot.threat import Threat
from surefoot.training import Training, make_recipe

SIGMA, L2, LINF = 0.25, Threat("l2", 0.25), Threat("linf", 0.1)
GUARANTEES = {
    "label": Local(),
    "top-2 set": TopK(2),
    "relaxed top-2": RelaxedTopK(2),
    "affinity": TOPS_AND_SHOES,
}
Sets = Local | TopK | RelaxedTopK | Affinity


def _nets(made: Callable[[str, Any], CertifiedNet]) -> tuple[CertifiedNet, ...]:
    return tuple(made(name, guarantee) for name, guarantee in GUARANTEES.items())


def _by_constants(name: str, guarantee: Sets) -> CertifiedNet:
    return net(name, guarantee, L2.eps, form="bottom")


def _under_noise(name: str, guarantee: Sets) -> CertifiedNet:
    return CertifiedNet(Row(name, make_recipe("noise", sigma=SIGMA)), guarantee)


def _by_bounds(name: str, guarantee: Sets) -> CertifiedNet:
    recipe = make_recipe("ibp", threat=LINF, guarantee=guarantee, initial="given")
    return CertifiedNet(Row(name, recipe), guarantee)


def _sizes(constants: Setting, votes: Setting, bounds: Setting, samples: int) -> dict[str, Any]:
    return {
        "constants": Column(_nets(_by_constants), constants, L2),
        "votes": Column(_nets(_under_noise), votes, L2),
        "bounds": Column(_nets(_by_bounds), bounds, LINF),
        "samples": samples,
    }


MLP = replace(SMOKE, net={"name": "mlp", "inputs": 64})
FEW_UNITS = replace(SMOKE, net={"name": "mlp", "inputs": 64, "hidden": (16,)})
STRIDED = replace(
    FASHION,
    net={"name": "relu-2c2f"},
    training=Training(epochs=60, schedule="multistep", milestones=(0.75, 0.9)),
)
STRIDED_SMALL = replace(
    STRIDED, train=20_000, test=500, training=replace(STRIDED.training, epochs=8), steps=20
)

SCALES = {
    "matrix-fashion-mnist": at_scales(
        guarantee_matrix,
        {
            "smoke": _sizes(SMOKE, MLP, FEW_UNITS, 200),
            "small": _sizes(FASHION_SMALL, replace(LENET_SMALL, test=500), STRIDED_SMALL, 10_000),
            "paper": _sizes(FASHION, LENET, STRIDED, 100_000),
        },
    )
}
