"""Where one label may not be right: Fashion-MNIST, CIFAR-10, blended digits, human votes."""

from dataclasses import replace

from surefoot.guarantees import Affinity
from surefoot.papers.experiment import Setting, at_scales
from surefoot.papers.gloro.gloro_rows import PAIRS, SMOKE, relaxing
from surefoot.papers.set_tables import graded, sets
from surefoot.training import PRESETS, Augmentation, Training

TOPS_AND_SHOES = Affinity(((0, 2, 3, 4, 6), (5, 7, 9), (1,), (8,)))
"""Fashion-MNIST: the groups of `data.groups.KNOWN`."""
KINDS = Affinity(((0, 1, 8, 9), (2, 3, 4, 5, 6, 7)))
"""CIFAR-10: vehicles, animals."""
CONFUSED = Affinity(((0, 8), (1, 9), (2, 6), (3, 5), (4, 5), (4, 7)))
"""CIFAR-10: what `data.groups.learned` finds in the votes of CIFAR-10N at a confusion of 0.03."""

BLENDED = replace(
    SMOKE,
    train=0,
    test=0,
    net={
        "name": "lipschitz-mlp",
        "inputs": 64,
        "hidden": (256, 128),
        "scale": 8.0,
        "unit_rows": True,
    },
    training=PRESETS["gloro-digits"],
    steps=50,
)
FASHION = Setting(
    data="fashion-mnist",
    train=0,
    test=0,
    training=Training(epochs=200, batch_size=256),
    net={"name": "gloro-2c2f"},
    protocol="margins",
    steps=50,
)
FASHION_SMALL = replace(
    FASHION, train=10_000, test=500, training=Training(epochs=10, batch_size=256), steps=20
)
COLOUR = {"name": "gloro-6c2f", "planes": 3, "size": 32}
CIFAR = replace(
    FASHION,
    data="cifar10",
    net=COLOUR,
    training=Training(epochs=800, batch_size=256, augmentation=Augmentation(crop=4, flip=True)),
)
CIFAR_SMALL = replace(
    CIFAR,
    train=20_000,
    test=500,
    net={**BLENDED.net, "inputs": 3_072, "hidden": (512, 256)},
    training=Training(
        epochs=8, batch_size=256, learning_rate=5e-3, ema=0.99, augmentation=Augmentation(flip=True)
    ),
    steps=20,
)
CIFAR_MEDIUM = replace(
    CIFAR,
    test=1_000,
    net={"name": "liresnet", "width": 64, "depth": 4, "neck": 512},
    training=Training(
        epochs=16, batch_size=128, schedule="cosine", augmentation=Augmentation(crop=4, flip=True)
    ),
    steps=20,
)
"""One net for all notions: two cores take an hour for it."""
CIFAR_PART = replace(
    CIFAR_MEDIUM,
    train=20_000,
    training=replace(CIFAR_MEDIUM.training, epochs=30, batch_size=256),
)
"""For a net of each notion."""
EMMA = {"form": "emma", "eps_course": "linear", "eps_to": 1.1}
ONE = relaxing(
    *(0.141, CONFUSED),
    **EMMA,
    published={"local": {"VRA local": 0.6}},
)[:1]
BLENDED_SIZES = {
    "smoke": SMOKE,
    "small": BLENDED,
    "paper": replace(BLENDED, training=replace(BLENDED.training, epochs=500)),
}
FASHION_SIZES = {"smoke": SMOKE, "small": FASHION_SMALL, "paper": FASHION}
CIFAR_SIZES = {"smoke": SMOKE, "small": CIFAR_SMALL, "paper": CIFAR}

SCALES = {
    "gloro-blended": at_scales(
        graded,
        BLENDED_SIZES,
        nets=relaxing(0.25, PAIRS, eps_to=1.3),
        eps=0.25,
        judged="blended-digits",
    ),
    "gloro-fashion-mnist": at_scales(
        sets, FASHION_SIZES, nets=relaxing(0.3, TOPS_AND_SHOES, form="bottom"), eps=0.3
    ),
    "gloro-cifar10-sets": at_scales(
        sets,
        {
            **CIFAR_SIZES,
            "medium": {"setting": CIFAR_PART, "nets": relaxing(0.141, KINDS, **EMMA)},
        },
        nets=relaxing(0.141, KINDS, eps_to=1.1),
        eps=0.141,
    ),
    "gloro-cifar10h": at_scales(
        graded,
        {
            **CIFAR_SIZES,
            "smoke": {"setting": SMOKE, "judged": "blended-digits"},
            "medium": {"setting": CIFAR_MEDIUM, "nets": ONE},
        },
        judged="cifar10h",
        nets=relaxing(0.141, CONFUSED, eps_to=1.1),
        eps=0.141,
    ),
}
