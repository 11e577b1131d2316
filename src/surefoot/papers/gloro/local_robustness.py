"""Local robustness: MNIST and CIFAR-10 as in the list of results of the authors' code."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surefoot.guarantees import Local, RelaxedTopK
from surefoot.papers.experiment import Setting, at_scales
from surefoot.papers.gloro.gloro_rows import SMOKE, net
from surefoot.papers.set_tables import sets
from surefoot.training import Augmentation, Training


def steep(eps: float, to: float, published: float, weight: float) -> tuple:
    """Return the two losses of the paper: on C + 1 outcomes, and TRADES with a growing weight."""
    course = {"eps_course": "logarithmic", "eps_from": 0.03, "eps_to": to}
    return (
        net("cross-entropy", Local(), eps, form="bottom", **course),
        net(
            "TRADES",
            Local(),
            eps,
            published={"VRA local": published},
            also={"RT2": RelaxedTopK(2)},
            form="trades",
            weight_from=0.0,
            weight=weight,
            **course,
        ),
    )


FEW = replace(SMOKE, data="digits", training=replace(SMOKE.training, learning_rate=1e-3))
MNIST = replace(
    SMOKE, data="mnist", train=0, test=0, training=Training(epochs=500, batch_size=256), steps=50
)
MNIST_SMALL = replace(MNIST, test=1_000, training=Training(epochs=12, batch_size=256), steps=20)
BRIEF = Training(epochs=8, batch_size=256)
SHORT = Training(epochs=12, batch_size=256, learning_rate=5e-3, ema=0.99)
LONG = Training(epochs=800, batch_size=256, augmentation=Augmentation(crop=4, flip=True))
ORTHOGONAL = {"name": "lipschitz-mlp", "inputs": 784, "hidden": (512, 256, 256), "scale": 8.0}
CIFAR = {"name": "gloro-6c2f", "planes": 3, "size": 32}


def sizes(
    digits: Mapping[str, Any],
    net: Mapping[str, Any],
    small: Mapping[str, Any],
    paper: Mapping[str, Any],
) -> dict[str, Setting]:
    """Return the settings at three scales: nets for digits and images, and what differs."""
    return {
        "smoke": replace(FEW, net=digits),
        "small": replace(MNIST_SMALL, **{"net": net, **small}),
        "paper": replace(MNIST, net=net, **paper),
    }


NEAR_SIZES = sizes({"name": "gloro-2c2f", "size": 8, "width": 0.25}, {"name": "gloro-2c2f"}, {}, {})
FAR_SIZES = sizes(
    {"name": "gloro-4c3f", "size": 8, "width": 0.125},
    {"name": "gloro-4c3f"},
    {"train": 20_000, "training": BRIEF},
    {"training": Training(epochs=300, batch_size=256)},
)
ORTHOGONAL_SIZES = sizes(
    {"name": "lipschitz-mlp", "inputs": 64, "hidden": (16,)},
    ORTHOGONAL,
    {"training": SHORT},
    {"training": replace(SHORT, epochs=100)},
)
CIFAR_SIZES = sizes(
    {"name": "gloro-6c2f", "size": 8, "width": 0.25},
    CIFAR,
    {
        "data": "cifar10",
        "train": 10_000,
        "test": 500,
        "net": {**CIFAR, "width": 0.5},
        "training": BRIEF,
    },
    {"data": "cifar10", "training": LONG},
)
CIFAR_SIZES["medium"] = replace(
    CIFAR_SIZES["small"],
    train=20_000,
    test=1_000,
    net={"name": "liresnet", "width": 64, "depth": 4, "neck": 512},
    training=Training(epochs=30, batch_size=256, schedule="cosine", augmentation=LONG.augmentation),
)
STRETCHLESS = net("orthogonal", Local(), 1.58, published={"VRA local": 0.628}, eps_to=1.1)

SCALES = {
    "gloro-mnist-2c2f": at_scales(sets, NEAR_SIZES, nets=steep(0.3, 1.5, 0.957, 2.0), eps=0.3),
    "gloro-mnist-4c3f": at_scales(sets, FAR_SIZES, nets=steep(1.58, 1.108, 0.628, 3.0), eps=1.58),
    "gloro-mnist-orthogonal": at_scales(sets, ORTHOGONAL_SIZES, nets=(STRETCHLESS,), eps=1.58),
    "gloro-cifar10": at_scales(sets, CIFAR_SIZES, nets=steep(0.141, 1.1, 0.6, 1.2), eps=0.141),
}
