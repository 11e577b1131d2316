"""The table of the seed: EuroSAT, CIFAR-100, Tiny-ImageNet; nothing is measured without data."""

from dataclasses import replace
from pathlib import Path

from surefoot.data import groups
from surefoot.guarantees import Affinity, Local, RelaxedTopK
from surefoot.papers.experiment import Experiment, Setting, at_scales
from surefoot.papers.gloro.gloro_rows import BESIDE, PAIRS, SMOKE, net
from surefoot.papers.set_tables import CertifiedNet, sets
from surefoot.training import Augmentation, Training

ABSENT = (
    "Nothing is measured without the data: `surefoot data fetch NAME` (extra hf), or put the files"
    " NAME_train.npz and NAME_test.npz into SUREFOOT_DATA. Published figures are VRA of the notion"
    " that heads the row; the poster gives neither eps nor hyperparameters, so those are ours. "
)
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
    source: str,
    settings: dict[str, Setting],
    nets: tuple[CertifiedNet, ...],
    smoked: tuple[CertifiedNet, ...] = (),
) -> Experiment:
    """Return an experiment; the smallest scale may have rows of its own, for ten classes."""
    smoke = {"setting": SMOKE, "nets": smoked or nets}
    scales = at_scales(sets, {"smoke": smoke, **settings}, nets=nets, eps=EPS)
    return Experiment("Leino, Fredrikson 2021: " + source, ABSENT + BESIDE, scales)


CIFAR100 = (
    trades("local", Local(), "local", 0.281),
    trades("RT5", RelaxedTopK(5), "relaxed", 0.36),
)
EXPERIMENTS = {
    "gloro-eurosat": table(
        "EuroSAT, local .749, RT3 .908",
        sizes("eurosat", "gloro-6c2f", 64, 10),
        (
            trades("local", Local(), "local", 0.749),
            trades("RT3", RelaxedTopK(3), "relaxed", 0.908),
        ),
    ),
    "gloro-cifar100": table(
        "CIFAR-100, local .281, RT5 .360, superclasses .323",
        sizes("cifar100", "gloro-6c2f", 32, 100),
        (*CIFAR100, trades("affinity", SUPERCLASSES, "relaxed", 0.323)),
        (*CIFAR100, trades("affinity", PAIRS, "relaxed", 0.323)),
    ),
    "gloro-tiny-imagenet": table(
        "Tiny-ImageNet, local .224, RT5 .277",
        sizes("tiny-imagenet", "gloro-8c2f", 64, 200),
        (
            trades("local", Local(), "local", 0.224),
            trades("RT5", RelaxedTopK(5), "relaxed", 0.277),
        ),
    ),
}
