"""The table of Leino and Fredrikson 2021: EuroSAT, CIFAR-100, Tiny-ImageNet, if at hand."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.data import groups
from surefoot.guarantees import Affinity, Local, RelaxedTopK
from surefoot.papers.experiment import Scales, Setting, at_scales
from surefoot.papers.gloro.gloro_rows import PAIRS, SMOKE, net
from surefoot.papers.set_tables import CertifiedNet, sets
from surefoot.training import Augmentation, Training
from surefoot.training.gloro import Form

EPS = 0.141


def trained_by(
    form: Form, name: str, guarantee: Local | RelaxedTopK | Affinity, figure: str, published: float
) -> CertifiedNet:
    """Return a row trained by a form of `GloRo`, with the VRA of its own notion as published."""
    course: dict[str, Any] = {"eps_course": "linear", "eps_to": 1.1} if form == "emma" else {}
    return net(name, guarantee, EPS, form=form, published={f"VRA {figure}": published}, **course)


trades = partial(trained_by, "trades")


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
    settings: Mapping[str, Setting | Mapping[str, Any]],
    nets: tuple[CertifiedNet, ...],
    smoked: tuple[CertifiedNet, ...],
) -> Scales:
    """Return a table at three scales; the smallest has rows of its own, for ten classes."""
    smoke = {"setting": SMOKE, "nets": smoked}
    return at_scales(sets, {"smoke": smoke, **settings}, nets=nets, eps=EPS)


def cifar100(form: Form) -> tuple[CertifiedNet, ...]:
    """Return the rows of CIFAR-100; the published ones are trained by TRADES."""
    return (
        trained_by(form, "local", Local(), "local", 0.281),
        trained_by(form, "RT5", RelaxedTopK(5), "relaxed", 0.36),
        trained_by(form, "affinity", SUPERCLASSES, "relaxed", 0.323),
    )


CIFAR100 = cifar100("trades")
CIFAR100_SIZES = sizes("cifar100", "gloro-6c2f", 32, 100)
CIFAR100_MEDIUM = replace(
    CIFAR100_SIZES["small"],
    train=0,
    test=5_000,
    net={"name": "liresnet", "width": 64, "depth": 4, "neck": 512, "classes": 100},
    training=Training(
        epochs=40,
        batch_size=256,
        schedule="cosine",
        augmentation=Augmentation(crop=4, flip=True),
    ),
)
"""EMMA, because LiResNet learns more by it than by TRADES."""
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
        {
            **CIFAR100_SIZES,
            "medium": {
                "setting": CIFAR100_MEDIUM,
                "nets": cifar100("emma"),
            },
        },
        CIFAR100,
        (*CIFAR100[:2], trades("affinity", PAIRS, "relaxed", 0.323)),
    ),
    "gloro-tiny-imagenet": table(
        sizes("tiny-imagenet", "gloro-8c2f", 64, 200), TINY_IMAGENET, TINY_IMAGENET
    ),
}
