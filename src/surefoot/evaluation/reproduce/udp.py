"""Uncertainty Driven Perturbations: Pagliardini et al. 2022, tables and figures on images.

Experiments in the plane and pictures are in `udp_plane.py`.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from surefoot.attacks.latent import Space
from surefoot.evaluation.reproduce.experiment import Experiment, Row, Setting
from surefoot.evaluation.reproduce.overfitting import overfitting
from surefoot.evaluation.reproduce.table import capacity, table
from surefoot.threat import Threat
from surefoot.training import (
    FGSM,
    PGD,
    PRESETS,
    RFGSM,
    TRADES,
    UDP,
    UDPR,
    UDPTRADES,
    Judge,
    Standard,
    Training,
    WeightAttack,
)
from surefoot.training.augmentation import Augmentation

SMOKE = Setting(
    data="digits",
    train=200,
    test=20,
    training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
    net={"name": "lenet", "size": 8},
    protocol="margins",
    steps=5,
)


def percent(**figures: float) -> dict[str, float]:
    """Turn `clean=78.9, linf_05=73.9` into {"clean": .789, "linf 0.05": .739}."""
    names = {"clean": "clean", "linf": "linf 0.", "l2": "l2 "}
    found = {}
    for key, value in figures.items():
        norm, _, radius = key.partition("_")
        found[names[norm] + radius.replace("_", ".")] = round(value / 100, 4)
    return found


def linf(eps: float, step_size: float, steps: int) -> UDP:
    """Give UDP as the paper writes its settings: eps / step_size / steps."""
    return UDP(Threat("linf", eps), steps=steps, step_size=step_size)


def ascent(eps: float, step_size: float, steps: int) -> PGD:
    """Give PGD from the image itself, as in the paper."""
    return PGD(Threat("linf", eps), steps=steps, step_size=step_size, random_start=False)


def trades(eps: float, step_size: float, steps: int) -> TRADES:
    """Give the TRADES of the paper's tables: soft cross-entropy, weight 1."""
    return TRADES(
        Threat("linf", eps),
        steps=steps,
        step_size=step_size,
        weight=1.0,
        form="soft-cross-entropy",
    )


FASHION = (
    Row("standard", Standard()),
    Row(
        "pgd",
        ascent(0.2, 0.015, 20),
        percent(clean=78.9, linf_05=73.9, linf_1=69.3, linf_2=58.3, l2_1_5=2.8),
    ),
    Row(
        "trades",
        trades(0.2, 0.015, 20),
        percent(clean=82.1, linf_05=77.1, linf_1=70.6, linf_2=55.1, l2_1_5=5.6),
    ),
    Row(
        "udp",
        linf(0.5, 0.025, 20),
        percent(clean=82.3, linf_05=74.9, linf_1=66.8, linf_2=49.6, l2_1_5=27.5),
    ),
    Row(
        "udpr",
        UDPR(linf(0.5, 0.025, 20)),
        percent(clean=84.8, linf_05=72.5, linf_1=60.9, linf_2=40.0, l2_1_5=34.1),
    ),
)
FASHION_THREATS = {"linf": (0.05, 0.1, 0.2), "l2": (1.5,)}
FASHION_SMALL = Setting(
    data="fashion-mnist",
    train=10_000,
    test=200,
    training=Training(epochs=10, batch_size=128, schedule="constant"),
    net={"name": "lenet"},
)
FASHION_PAPER = Setting(
    data="fashion-mnist",
    train=0,
    test=10_000,
    validation=5_000,
    training=PRESETS["udp-lenet"],
    net={"name": "lenet"},
)
KL_TRADES = TRADES(Threat("linf", 0.2), steps=20, step_size=0.015)
AVERAGED = {"ema": 0.99}
BEYOND = (
    *(row for row in FASHION if row.name in ("pgd", "udp")),
    Row("trades-kl", KL_TRADES),
    Row("udp-trades-kl", UDPTRADES(linf(0.5, 0.025, 20)), training=AVERAGED),
    Row(
        "udp-trades-kl-awp",
        UDPTRADES(linf(0.5, 0.025, 20)),
        training=AVERAGED | {"weight_attack": WeightAttack(5e-3, 2)},
    ),
)

RESNET = {"name": "preactresnet18"}
NARROW = {"name": "preactresnet18", "width": 16}
SMOKE_RESNET = replace(
    SMOKE, train=64, test=8, net={"name": "preactresnet18", "planes": 1, "width": 2}
)
CIFAR = (
    Row("standard", Standard()),
    Row(
        "trades .03",
        trades(0.03, 0.001, 30),
        percent(linf_01=61.8, linf_03=31.0, l2_0_5=46.9, l2_1=18.3),
    ),
    Row(
        "pgd .02",
        ascent(0.02, 0.001, 20),
        percent(linf_01=62.7, linf_03=31.2, l2_0_5=47.4, l2_1=17.9),
    ),
    Row(
        "udpr .05",
        UDPR(linf(0.05, 0.002, 25)),
        percent(clean=79.7, linf_01=64.9, linf_03=31.1, l2_0_5=50.2, l2_1=19.1),
        training={"learning_rate": 0.14},
    ),
    Row(
        "udp .06",
        linf(0.06, 0.002, 30),
        percent(linf_01=64.2, linf_03=33.4, l2_0_5=50.1, l2_1=19.5),
    ),
)
CIFAR_THREATS = {"linf": (0.01, 0.03), "l2": (0.5, 1.0)}
CIFAR_PAPER = Setting(
    data="cifar10",
    train=0,
    test=10_000,
    validation=5_000,
    training=PRESETS["udp-preactresnet18"],
    net=RESNET,
)
CIFAR_SMALL = Setting(
    data="cifar10",
    train=5_000,
    test=100,
    training=Training(
        epochs=12, batch_size=128, optimizer="sgd", learning_rate=0.1, schedule="triangular"
    ),
    net=NARROW,
    protocol="fast",
)
SVHN = (
    Row(
        "trades .05",
        trades(0.05, 0.001, 50),
        percent(clean=85.9, linf_01=72.9, linf_03=44.6, l2_0_5=37.7, l2_1=6.7),
    ),
    Row(
        "pgd .04",
        ascent(0.04, 0.002, 20),
        percent(linf_01=75.7, linf_03=43.3, l2_0_5=30.5, l2_1=5.5),
    ),
    Row(
        "udpr .05",
        UDPR(linf(0.05, 0.002, 25)),
        percent(clean=93.1, linf_01=79.7, linf_03=40.3, l2_0_5=34.4, l2_1=6.1),
    ),
    Row(
        "udp .04",
        linf(0.04, 0.002, 20),
        percent(clean=93.7, linf_01=79.3, linf_03=39.7, l2_0_5=33.4, l2_1=5.8),
    ),
)
AUGMENTED = (
    Row(
        "pgd .03",
        ascent(0.03, 0.006, 10),
        percent(clean=83.8, linf_01=72.9, linf_03=47.6, l2_0_5=58.5, l2_1=25.5),
    ),
    Row(
        "udpr .05",
        UDPR(linf(0.05, 0.01, 10)),
        percent(clean=83.4, linf_01=74.1, linf_03=45.3, l2_0_5=58.5, l2_1=25.5),
    ),
    Row(
        "udp .08",
        linf(0.08, 0.01, 20),
        percent(clean=87.5, linf_01=76.9, linf_03=37.1, l2_0_5=59.5, l2_1=21.4),
    ),
)


def latent_rows(layer: str, eps: float, step_size: float) -> tuple[Row, ...]:
    """Give the rows of the low-data table, perturbed at the output of this layer."""
    space, threat = Space(layer, "absolute"), Threat("linf", eps)
    shared = {"threat": threat, "steps": 20, "step_size": step_size, "space": space}
    return (
        Row("standard", Standard(), percent(clean=48.2)),
        Row("ls-pgd", PGD(**shared, random_start=False), percent(clean=37.3)),
        Row(
            "ls-trades",
            TRADES(**shared, weight=1.0, form="soft-cross-entropy"),
            percent(clean=46.9),
        ),
        Row("ls-udpr", UDPR(UDP(**shared)), percent(clean=53.1)),
        Row("ls-udp", UDP(**shared), percent(clean=52.5)),
    )


LATENT_SMALL = Setting(
    data="cifar10",
    train=2_500,
    test=10_000,
    training=Training(
        epochs=30, batch_size=128, optimizer="sgd", learning_rate=0.1, schedule="triangular"
    ),
    net=NARROW,
)


WIDE = (Row("standard", Standard()), Row("udp", linf(0.1, 0.01, 10)))
CAPACITY_SMALL = replace(
    FASHION_SMALL,
    test=0,
    training=replace(PRESETS["udp-lenet-capacity"], epochs=10),
)
ONE_STEP = (
    Row("fgsm", FGSM(Threat("linf", 0.2)), {"many steps": 0.0}),
    Row("udp-1", UDP(Threat("linf", 0.2), steps=1, step_size=0.2)),
)
JUDGE = Judge("linf", 0.2, judge_steps=20, judge_count=500)
ONE_STEP_SMALL = replace(
    FASHION_SMALL,
    validation=1_000,
    training=Training(epochs=30, batch_size=64, schedule="constant", judge=JUDGE),
)
DROPOUT = (
    Row("fgsm", FGSM(Threat("linf", 0.03))),
    Row("r-fgsm", RFGSM(Threat("linf", 0.03))),
    Row("pgd-2", PGD(Threat("linf", 0.03), steps=2)),
    Row("udp-1", UDP(Threat("linf", 0.03), steps=1, step_size=0.03)),
    Row("udp-2", UDP(Threat("linf", 0.03), steps=2, step_size=0.03)),
)
DROPOUT_JUDGE = Judge("linf", 0.03, judge_steps=50, judge_count=200)


def dropping(width: int, planes: int = 3) -> dict[str, Any]:
    """Give PreActResNet-18 with dropout .2, perturbed through the mean of 5 draws."""
    net = {"name": "preactresnet18", "width": width, "planes": planes, "dropout": 0.2}
    return {"name": "dropout-ensemble", "model": net, "draws": 5, "seed": None}


NOT_MEASURED = "Intervals are those of the test images; seeds differ by more. "
SMALLER = "Scale small: fewer images, epochs and test images than published. "

EXPERIMENTS = {
    "udp-fashion-mnist": Experiment(
        source="Pagliardini et al. 2022, Table 2 (Fashion-MNIST, LeNet)",
        remark=(
            SMALLER + NOT_MEASURED + "Published: 100 epochs, mean of 3 seeds, hyperparameters"
            " chosen on the reported radii, TRADES as in the authors' code (weight 1). UDP is"
            " expected to win in clean accuracy and in l2, and to lose at linf 0.2."
        ),
        scales={
            "smoke": partial(table, rows=FASHION, setting=SMOKE, threats=FASHION_THREATS),
            "small": partial(table, rows=FASHION, setting=FASHION_SMALL, threats=FASHION_THREATS),
            "paper": partial(table, rows=FASHION, setting=FASHION_PAPER, threats=FASHION_THREATS),
        },
    ),
    "udp-beyond": Experiment(
        source="Beyond Pagliardini et al. 2022: UDP with TRADES-KL, averaging, weight perturbation",
        remark=SMALLER + "Same data, epochs and steps for every row; published figures are those"
        " of Table 2.",
        scales={
            "smoke": partial(table, rows=BEYOND, setting=SMOKE, threats=FASHION_THREATS),
            "small": partial(table, rows=BEYOND, setting=FASHION_SMALL, threats=FASHION_THREATS),
            "paper": partial(table, rows=BEYOND, setting=FASHION_PAPER, threats=FASHION_THREATS),
        },
    ),
    "udp-cifar10": Experiment(
        source="Pagliardini et al. 2022, Table 1 (CIFAR-10 without augmentation, PreActResNet-18)",
        remark=SMALLER + "Scale small: width 16, Auto-PGD alone. Without published clean accuracy.",
        scales={
            "smoke": partial(table, rows=CIFAR, setting=SMOKE_RESNET, threats=CIFAR_THREATS),
            "small": partial(table, rows=CIFAR, setting=CIFAR_SMALL, threats=CIFAR_THREATS),
            "paper": partial(table, rows=CIFAR, setting=CIFAR_PAPER, threats=CIFAR_THREATS),
        },
    ),
    "udp-svhn": Experiment(
        source="Pagliardini et al. 2022, Table 1 (SVHN, PreActResNet-18)",
        remark="The data come from the Hugging Face hub (extra hf); nothing is measured without.",
        scales={
            "smoke": partial(table, rows=SVHN, setting=SMOKE_RESNET, threats=CIFAR_THREATS),
            "small": partial(
                table,
                rows=SVHN,
                setting=replace(CIFAR_SMALL, data="hf:ufldl-stanford/svhn"),
                threats=CIFAR_THREATS,
            ),
            "paper": partial(
                table,
                rows=SVHN,
                setting=replace(CIFAR_PAPER, data="hf:ufldl-stanford/svhn", validation=6_257),
                threats=CIFAR_THREATS,
            ),
        },
    ),
    "udp-cifar10-augmented": Experiment(
        source="Pagliardini et al. 2022, Table 3 (CIFAR-10, crops and flips, PreActResNet-18)",
        remark=SMALLER + "UDP is expected to win in clean accuracy and linf 0.01, and to lose by"
        " ten points at linf 0.03. Validation images are not augmented here.",
        scales={
            "smoke": partial(table, rows=AUGMENTED, setting=SMOKE_RESNET, threats=CIFAR_THREATS),
            "small": partial(
                table,
                rows=AUGMENTED,
                setting=replace(
                    CIFAR_SMALL,
                    training=replace(CIFAR_SMALL.training, augmentation=Augmentation(4, True)),
                ),
                threats=CIFAR_THREATS,
            ),
            "paper": partial(
                table,
                rows=AUGMENTED,
                setting=replace(CIFAR_PAPER, training=PRESETS["udp-preactresnet18-augmented"]),
                threats=CIFAR_THREATS,
            ),
        },
    ),
    "udp-latent": Experiment(
        source="Pagliardini et al. 2022, Table 5 (2,500 CIFAR-10 images, last hidden layer)",
        remark=(
            "The paper gives eps 0.2 in the text and 2 in the table, and no training recipe; here"
            " eps is absolute, 0.2, at the output of the last block. Scale small: width 16."
        ),
        scales={
            "smoke": partial(
                table, rows=latent_rows("8", 0.2, 0.01), setting=SMOKE_RESNET, threats={}
            ),
            "small": partial(
                table, rows=latent_rows("8", 0.2, 0.01), setting=LATENT_SMALL, threats={}
            ),
            "paper": partial(
                table,
                rows=latent_rows("8", 0.2, 0.01),
                setting=replace(CIFAR_PAPER, train=2_500),
                threats={},
            ),
        },
    ),
    "udp-capacity": Experiment(
        source="Pagliardini et al. 2022, Figure 5 (Fashion-MNIST, LeNet, width 1 to 12)",
        remark="Clean accuracy; the paper's claim is that UDP needs width to beat clean training.",
        scales={
            "smoke": partial(capacity, rows=WIDE, setting=SMOKE, widths=(1, 2)),
            "small": partial(capacity, rows=WIDE, setting=CAPACITY_SMALL, widths=(1, 2, 4)),
            "paper": partial(
                capacity,
                rows=WIDE,
                setting=replace(FASHION_PAPER, training=PRESETS["udp-lenet-capacity"]),
                widths=(1, 2, 4, 6, 8, 10, 12),
            ),
        },
    ),
    "udp-overfitting": Experiment(
        source="Pagliardini et al. 2022, Figure 13 (Fashion-MNIST, LeNet, one step of 0.2)",
        remark="Validation images under FGSM and PGD-20 at linf 0.2; the paper prints no numbers:"
        " FGSM falls to about 0, UDP declines but not to 0.",
        scales={
            "smoke": partial(
                overfitting,
                rows=ONE_STEP,
                setting=replace(
                    SMOKE, validation=50, training=replace(SMOKE.training, judge=JUDGE)
                ),
            ),
            "small": partial(overfitting, rows=ONE_STEP, setting=ONE_STEP_SMALL),
            "paper": partial(
                overfitting,
                rows=ONE_STEP,
                setting=replace(
                    FASHION_PAPER,
                    training=replace(PRESETS["udp-lenet"], judge=replace(JUDGE, judge_count=2_000)),
                ),
            ),
        },
    ),
    "udp-overfitting-dropout": Experiment(
        source="Pagliardini et al. 2022, Figure 14 (CIFAR-10, PreActResNet-18 with dropout)",
        remark="Perturbed through the mean of 5 draws. Validation images under FGSM and PGD-50 at"
        " linf 0.03, one restart; the paper prints no numbers and draws several eps, with 10"
        " restarts. Scale small: width 8, 2,500 images.",
        scales={
            "smoke": partial(
                overfitting,
                rows=DROPOUT,
                setting=replace(
                    SMOKE,
                    train=64,
                    validation=20,
                    net=dropping(2, planes=1),
                    training=replace(
                        SMOKE.training, epochs=1, judge=replace(DROPOUT_JUDGE, judge_steps=3)
                    ),
                ),
            ),
            "small": partial(
                overfitting,
                rows=DROPOUT,
                setting=replace(
                    CIFAR_SMALL,
                    train=2_500,
                    validation=500,
                    net=dropping(8),
                    training=replace(CIFAR_SMALL.training, judge=DROPOUT_JUDGE),
                ),
            ),
            "paper": partial(
                overfitting,
                rows=DROPOUT,
                setting=replace(
                    CIFAR_PAPER,
                    net=dropping(64),
                    training=replace(
                        PRESETS["udp-preactresnet18"],
                        judge=replace(DROPOUT_JUDGE, judge_count=1_000),
                    ),
                ),
            ),
        },
    ),
}
