"""The table of Leino and Fredrikson 2021: EuroSAT, CIFAR-100, Tiny-ImageNet, if at hand."""

from dataclasses import replace
from pathlib import Path

from surefoot.data import groups
from surefoot.guarantees import Affinity, Local, RelaxedTopK
from surefoot.papers.experiment import Scales, Setting, at_scales
from surefoot.papers.gloro.gloro_rows import PAIRS, SMOKE, net
from surefoot.papers.set_tables import CertifiedNet, sets
from surefoot.training import Augmentation, Training

EPS = 0.141


def trades(
    name: str, guarantee: Local | RelaxedTopK | Affinity, figure: str, published: float
) -> CertifiedNet:
    """Return a row trained by TRADES, with the VRA of its own notion as published."""
    return net(name, guarantee, EPS, form="trades", published={f"VRA {figure}": published})


SUPERCLASSES = Affinity(
    groups.from_file(Path(__file__).with_name("cifar100_superclasses.json"), [""] * 100)
)
"""CIFAR-100: the twenty superclasses, as `data.groups.from_superclass_file` reads them."""


def sizes(data: str, name: str, size: int, classes: int) -> dict[str, Setting]:
    """Return the sizes that need the data."""
    whole = replace(
        SMOKE,
        data=data,
        train=0,
        test=0,
        net={"name": name, "planes": 3, "size": size, "classes": classes},
        training=Training(epochs=500, batch_size=256, augmentation=Augmentation(flip=True)),
        steps=50,
    )
    few = replace(
        whole,
        train=10_000,
        test=500,
        net={**whole.net, "width": 0.5},
        training=Training(epochs=8, batch_size=256),
        steps=20,
    )
    return {"small": few, "paper": whole}


def table(
    settings: dict[str, Setting], nets: tuple[CertifiedNet, ...], smoked: tuple[CertifiedNet, ...]
) -> Scales:
    """Return a table at three scales; the smallest has rows of its own, for ten classes."""
    smoke = {"setting": SMOKE, "nets": smoked}
    return at_scales(sets, {"smoke": smoke, **settings}, nets=nets, eps=EPS)


CIFAR100 = (
    trades("local", Local(), "local", 0.281),
    trades("RT5", RelaxedTopK(5), "relaxed", 0.36),
)
EUROSAT = (
    trades("local", Local(), "local", 0.749),
    trades("RT3", RelaxedTopK(3), "relaxed", 0.908),
)
TINY_IMAGENET = (
    trades("local", Local(), "local", 0.224),
    trades("RT5", RelaxedTopK(5), "relaxed", 0.277),
)
SCALES = {
    "gloro-eurosat": table(sizes("eurosat", "gloro-6c2f", 64, 10), EUROSAT, EUROSAT),
    "gloro-cifar100": table(
        sizes("cifar100", "gloro-6c2f", 32, 100),
        (*CIFAR100, trades("affinity", SUPERCLASSES, "relaxed", 0.323)),
        (*CIFAR100, trades("affinity", PAIRS, "relaxed", 0.323)),
    ),
    "gloro-tiny-imagenet": table(
        sizes("tiny-imagenet", "gloro-8c2f", 64, 200), TINY_IMAGENET, TINY_IMAGENET
    ),
}
