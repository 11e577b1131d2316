"""Fashion-MNIST, CIFAR-10 and SVHN: Tables 1 to 5, Figures 5, 13, 14, and other schedules."""

from dataclasses import replace
from typing import Any

from surefoot.attacks.latent import Space
from surefoot.papers.accuracy_table import capacity, table, transfer
from surefoot.papers.experiment import Experiment, Row, Setting, at_scales
from surefoot.papers.overfitting import overfitting
from surefoot.papers.udp.udp_rows import ORIGIN, SOFT, STANDARD, linf, rows
from surefoot.threat import Threat
from surefoot.training import PRESETS, Augmentation, Judge, Training, make_recipe

SMALLER = "Scale small: fewer images, epochs and test images than published. "
SMOKE = Setting(
    data="digits",
    train=200,
    test=20,
    training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
    net={"name": "lenet", "size": 8},
    protocol="margins",
    steps=5,
)
FASHION = {
    "smoke": SMOKE,
    "small": Setting(
        data="fashion-mnist",
        train=10_000,
        test=200,
        training=Training(epochs=10, batch_size=128, schedule="constant"),
        net={"name": "lenet"},
    ),
    "paper": Setting(
        data="fashion-mnist",
        train=0,
        test=10_000,
        validation=5_000,
        training=PRESETS["udp-lenet"],
        net={"name": "lenet"},
    ),
}
CIFAR = {
    "smoke": replace(
        SMOKE, train=64, test=8, net={"name": "preactresnet18", "planes": 1, "width": 2}
    ),
    "small": Setting(
        data="cifar10",
        train=2_000,
        test=100,
        training=Training(
            epochs=10, batch_size=128, optimizer="sgd", learning_rate=0.1, schedule="triangular"
        ),
        net={"name": "preactresnet18", "width": 8},
        protocol="fast",
    ),
    "paper": Setting(
        data="cifar10",
        train=0,
        test=10_000,
        validation=5_000,
        training=PRESETS["udp-preactresnet18"],
        net={"name": "preactresnet18"},
    ),
}


def changed(
    settings: dict[str, Setting],
    *,
    smoke: dict[str, Any] | None = None,
    small: dict[str, Any] | None = None,
    paper: dict[str, Any] | None = None,
) -> dict[str, Setting]:
    """Return the settings of three scales with other fields."""
    other = {"smoke": smoke or {}, "small": small or {}, "paper": paper or {}}
    return {scale: replace(setting, **other[scale]) for scale, setting in settings.items()}


FASHION_THREATS = {"linf": (0.05, 0.1, 0.2), "l2": (1.5,)}
FASHION_ROWS = rows(
    "clean, linf 0.05, linf 0.1, linf 0.2, l2 1.5",
    ("pgd", linf("pgd", 0.2, 0.015, 20, **ORIGIN), (78.9, 73.9, 69.3, 58.3, 2.8)),
    ("trades", linf("trades", 0.2, 0.015, 20, **SOFT), (82.1, 77.1, 70.6, 55.1, 5.6)),
    ("udp", linf("udp", 0.5, 0.025, 20), (82.3, 74.9, 66.8, 49.6, 27.5)),
    ("udpr", linf("udpr", 0.5, 0.025, 20), (84.8, 72.5, 60.9, 40.0, 34.1)),
)
FEW_STEPS = {"schedule": "triangular", "learning_rate": 3e-3, "ema": 0.995}
"""How the rows with other schedules are trained: fewer and longer steps pay for more epochs."""


def rescheduled(training: Training) -> tuple[Row, ...]:
    """Return the published recipes, and others at the same number of gradients a training image.

    Twenty steps and one for the loss, for so many epochs, cost what six steps and one cost for
    three times as many.
    """
    few = FEW_STEPS | {"epochs": 3 * training.epochs}
    clean_too = few | {"epochs": round(2.6 * training.epochs)}  # TRADES evaluates clean images too
    return (
        *(row for row in FASHION_ROWS if row.name in ("pgd", "udp")),
        Row("pgd .2, few steps", linf("pgd", 0.2, 0.05, 6), training=few),
        Row("udp .5, few steps", linf("udp", 0.5, 0.1, 6), training=few),
        Row("pgd .25, few steps", linf("pgd", 0.25, 0.0625, 6), training=few),
        Row("trades .25, few steps", linf("trades", 0.25, 0.0625, 6, **SOFT), training=clean_too),
        Row(
            "udp-trades .5, few steps",
            linf("udp-trades", 0.5, 0.1, 6, **SOFT),
            training=clean_too,
        ),
    )


WIDE = PRESETS["udp-lenet-capacity"]
WIDTHS = {"smoke": (1, 2), "small": (1, 2, 4), "paper": (1, 2, 4, 6, 8, 10, 12)}
ONE_STEP = (
    Row("fgsm", make_recipe("fgsm", threat=Threat("linf", 0.2)), {"many steps": 0.0}),
    Row("udp-1", linf("udp", 0.2, 0.2, 1)),
)
JUDGE = Judge("linf", 0.2, judge_steps=20, judge_count=500)

CIFAR_THREATS = {"linf": (0.01, 0.03), "l2": (0.5, 1.0)}
CIFAR_FIGURES = "clean, linf 0.01, linf 0.03, l2 0.5, l2 1"
CIFAR_ROWS = rows(
    CIFAR_FIGURES,
    ("trades .03", linf("trades", 0.03, 0.001, 30, **SOFT), (None, 61.8, 31.0, 46.9, 18.3)),
    ("pgd .02", linf("pgd", 0.02, 0.001, 20, **ORIGIN), (None, 62.7, 31.2, 47.4, 17.9)),
    ("udpr .05", linf("udpr", 0.05, 0.002, 25), (79.7, 64.9, 31.1, 50.2, 19.1)),
    ("udp .06", linf("udp", 0.06, 0.002, 30), (None, 64.2, 33.4, 50.1, 19.5)),
)
CIFAR_ROWS = (
    STANDARD,
    *(
        replace(row, training={"learning_rate": 0.14}) if row.name == "udpr .05" else row
        for row in CIFAR_ROWS
    ),
)
SVHN_ROWS = rows(
    CIFAR_FIGURES,
    ("trades .05", linf("trades", 0.05, 0.001, 50, **SOFT), (85.9, 72.9, 44.6, 37.7, 6.7)),
    ("pgd .04", linf("pgd", 0.04, 0.002, 20, **ORIGIN), (None, 75.7, 43.3, 30.5, 5.5)),
    ("udpr .05", linf("udpr", 0.05, 0.002, 25), (93.1, 79.7, 40.3, 34.4, 6.1)),
    ("udp .04", linf("udp", 0.04, 0.002, 20), (93.7, 79.3, 39.7, 33.4, 5.8)),
)
AUGMENTED_ROWS = rows(
    CIFAR_FIGURES,
    ("pgd .03", linf("pgd", 0.03, 0.006, 10, **ORIGIN), (83.8, 72.9, 47.6, 58.5, 25.5)),
    ("udpr .05", linf("udpr", 0.05, 0.01, 10), (83.4, 74.1, 45.3, 58.5, 25.5)),
    ("udp .08", linf("udp", 0.08, 0.01, 20), (87.5, 76.9, 37.1, 59.5, 21.4)),
)
LAST = {"space": Space("8", "absolute")}
LATENT_ROWS = rows(
    "clean",
    ("standard", STANDARD.recipe, (48.2,)),
    ("ls-pgd", linf("pgd", 2.0, 0.1, 20, **LAST, **ORIGIN), (37.3,)),
    ("ls-trades", linf("trades", 2.0, 0.1, 20, **LAST, **SOFT), (46.9,)),
    ("ls-udpr", linf("udpr", 2.0, 0.1, 20, **LAST), (53.1,)),
    ("ls-udp", linf("udp", 2.0, 0.1, 20, **LAST), (52.5,)),
)
TRANSFER = {"standard": 42.5, "trades .03": 42.7, "pgd .02": 42.6, "udp .06": 45.3}
PROBED = rows(
    "transfer",
    *((row.name, row.recipe, (TRANSFER[row.name],)) for row in CIFAR_ROWS if row.name in TRANSFER),
)
NEAR = Threat("linf", 0.03)
DROPOUT_ROWS = (
    Row("fgsm", make_recipe("fgsm", threat=NEAR)),
    Row("r-fgsm", make_recipe("r-fgsm", threat=NEAR)),
    Row("pgd-2", make_recipe("pgd", threat=NEAR, steps=2)),
    Row("udp-1", linf("udp", 0.03, 0.03, 1)),
    Row("udp-2", linf("udp", 0.03, 0.03, 2)),
)
DROPOUT_JUDGE = Judge("linf", 0.03, judge_steps=50, judge_count=200)


def dropping(width: int, planes: int = 3) -> dict[str, Any]:
    """Return PreActResNet-18 with dropout .2, perturbed through the mean of 5 draws."""
    net = {"name": "preactresnet18", "width": width, "planes": planes, "dropout": 0.2}
    return {"name": "dropout-ensemble", "model": net, "draws": 5, "seed": None}


HUB = "hf:ufldl-stanford/svhn"
SMALL, PAPER = CIFAR["small"].training, CIFAR["paper"].training
EXPERIMENTS = {
    "udp-fashion-mnist": Experiment(
        "Pagliardini et al. 2022, Table 2 (Fashion-MNIST, LeNet)",
        SMALLER + "Intervals are those of the test images; seeds differ by more. Published:"
        " 100 epochs, mean of 3 seeds, hyperparameters chosen on the reported radii, TRADES as in"
        " the authors' code (weight 1). UDP is expected to win in clean accuracy and in l2, and to"
        " lose at linf 0.2.",
        at_scales(table, FASHION, rows=(STANDARD, *FASHION_ROWS), threats=FASHION_THREATS),
    ),
    "udp-beyond": Experiment(
        "Beyond Pagliardini et al. 2022: six long steps, averaged weights, more epochs",
        SMALLER + "Every row has the same number of gradients an image; published figures are"
        " those of Table 2. The gain is that of the schedule: with it PGD is ahead of UDP in linf.",
        at_scales(
            table,
            {
                scale: {"setting": setting, "rows": rescheduled(setting.training)}
                for scale, setting in FASHION.items()
            },
            threats=FASHION_THREATS,
        ),
    ),
    "udp-capacity": Experiment(
        "Pagliardini et al. 2022, Figure 5 (Fashion-MNIST, LeNet, width 1 to 12)",
        "Clean accuracy; the paper's claim is that UDP needs width to beat clean training.",
        at_scales(
            capacity,
            {
                scale: {"setting": setting, "widths": WIDTHS[scale]}
                for scale, setting in changed(
                    FASHION,
                    small={"test": 0, "training": replace(WIDE, epochs=10)},
                    paper={"training": WIDE},
                ).items()
            },
            rows=(STANDARD, Row("udp", linf("udp", 0.1, 0.01, 10))),
        ),
    ),
    "udp-overfitting": Experiment(
        "Pagliardini et al. 2022, Figure 13 (Fashion-MNIST, LeNet, one step of 0.2)",
        "Validation images under FGSM and PGD-20 at linf 0.2; the paper prints no numbers:"
        " FGSM falls to about 0, UDP declines but not to 0.",
        at_scales(
            overfitting,
            changed(
                FASHION,
                smoke={"validation": 50, "training": replace(SMOKE.training, judge=JUDGE)},
                small={
                    "validation": 1_000,
                    "training": Training(
                        epochs=30, batch_size=64, schedule="constant", judge=JUDGE
                    ),
                },
                paper={
                    "training": replace(
                        PRESETS["udp-lenet"], judge=replace(JUDGE, judge_count=2_000)
                    )
                },
            ),
            rows=ONE_STEP,
        ),
    ),
    "udp-cifar10": Experiment(
        "Pagliardini et al. 2022, Table 1 (CIFAR-10 without augmentation, PreActResNet-18)",
        SMALLER + "Scale small: width 8, Auto-PGD alone. Without published clean accuracy.",
        at_scales(table, CIFAR, rows=CIFAR_ROWS, threats=CIFAR_THREATS),
    ),
    "udp-svhn": Experiment(
        "Pagliardini et al. 2022, Table 1 (SVHN, PreActResNet-18)",
        "The data come from the Hugging Face hub (extra hf); nothing is measured without.",
        at_scales(
            table,
            changed(CIFAR, small={"data": HUB}, paper={"data": HUB, "validation": 6_257}),
            rows=SVHN_ROWS,
            threats=CIFAR_THREATS,
        ),
    ),
    "udp-cifar10-augmented": Experiment(
        "Pagliardini et al. 2022, Table 3 (CIFAR-10, crops and flips, PreActResNet-18)",
        SMALLER + "UDP is expected to win in clean accuracy and linf 0.01, and to lose by"
        " ten points at linf 0.03. Validation images are not augmented here.",
        at_scales(
            table,
            changed(
                CIFAR,
                small={"training": replace(SMALL, augmentation=Augmentation(crop=4, flip=True))},
                paper={"training": PRESETS["udp-preactresnet18-augmented"]},
            ),
            rows=AUGMENTED_ROWS,
            threats=CIFAR_THREATS,
        ),
    ),
    "udp-latent": Experiment(
        "Pagliardini et al. 2022, Table 5 (2,500 CIFAR-10 images, last hidden layer)",
        "The paper gives eps 0.2 in the text and 2 in the table, and no training recipe;"
        " here eps is absolute, 2, at the output of the last block (0.2 gains half as much). Scale"
        " small: width 16.",
        at_scales(
            table,
            changed(
                CIFAR,
                small={
                    "train": 2_500,
                    "test": 10_000,
                    "net": {"name": "preactresnet18", "width": 16},
                    "training": replace(SMALL, epochs=30),
                },
                paper={"train": 2_500},
            ),
            rows=LATENT_ROWS,
            threats={},
        ),
    ),
    "udp-transfer": Experiment(
        "Pagliardini et al. 2022, Table 4 (CIFAR-10 features for CIFAR-100)",
        "The paper's probe is not described; ours is a logistic regression on the pooled"
        " features. Only 2,000 images of CIFAR-100 are at hand, all 100 classes: half of them"
        " train the probe, so figures lie far below the published ones; compare the rows.",
        at_scales(
            transfer,
            {**CIFAR, "smoke": {"setting": CIFAR["smoke"], "rows": PROBED[:2], "other": "digits"}},
            rows=PROBED,
            other="cifar100-ood",
            layer="11",
        ),
    ),
    "udp-overfitting-dropout": Experiment(
        "Pagliardini et al. 2022, Figure 14 (CIFAR-10, PreActResNet-18 with dropout)",
        "Perturbed through the mean of 5 draws. Validation images under FGSM and PGD-50 at"
        " linf 0.03, one restart; the paper prints no numbers and draws several eps, with 10"
        " restarts. Scale small: width 8, 2,500 images.",
        at_scales(
            overfitting,
            changed(
                CIFAR,
                smoke={
                    "test": 20,
                    "validation": 20,
                    "net": dropping(2, planes=1),
                    "training": replace(
                        SMOKE.training, epochs=1, judge=replace(DROPOUT_JUDGE, judge_steps=3)
                    ),
                },
                small={
                    "train": 2_500,
                    "validation": 500,
                    "net": dropping(8),
                    "training": replace(SMALL, judge=DROPOUT_JUDGE),
                },
                paper={
                    "net": dropping(64),
                    "training": replace(PAPER, judge=replace(DROPOUT_JUDGE, judge_count=1_000)),
                },
            ),
            rows=DROPOUT_ROWS,
        ),
    ),
}
