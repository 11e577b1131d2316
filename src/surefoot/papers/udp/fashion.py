"""Fashion-MNIST, LeNet: Table 2, Figures 5 and 13, and what goes beyond the paper."""

from dataclasses import replace
from functools import partial

from surefoot.papers.experiment import Experiment, Row, Setting, at_scales
from surefoot.papers.overfitting import overfitting
from surefoot.papers.table import capacity, table
from surefoot.papers.udp.parts import ASCENT, SMALLER, SMOKE, SOFT, linf, percent
from surefoot.threat import Threat
from surefoot.training import PRESETS, Judge, Training, make_recipe

ROWS = (
    Row("standard", make_recipe("standard")),
    Row(
        "pgd",
        linf("pgd", 0.2, 0.015, 20, **ASCENT),
        percent(clean=78.9, linf_05=73.9, linf_1=69.3, linf_2=58.3, l2_1_5=2.8),
    ),
    Row(
        "trades",
        linf("trades", 0.2, 0.015, 20, **SOFT),
        percent(clean=82.1, linf_05=77.1, linf_1=70.6, linf_2=55.1, l2_1_5=5.6),
    ),
    Row(
        "udp",
        linf("udp", 0.5, 0.025, 20),
        percent(clean=82.3, linf_05=74.9, linf_1=66.8, linf_2=49.6, l2_1_5=27.5),
    ),
    Row(
        "udpr",
        linf("udpr", 0.5, 0.025, 20),
        percent(clean=84.8, linf_05=72.5, linf_1=60.9, linf_2=40.0, l2_1_5=34.1),
    ),
)
THREATS = {"linf": (0.05, 0.1, 0.2), "l2": (1.5,)}
SMALL = Setting(
    data="fashion-mnist",
    train=10_000,
    test=200,
    training=Training(epochs=10, batch_size=128, schedule="constant"),
    net={"name": "lenet"},
)
PAPER = Setting(
    data="fashion-mnist",
    train=0,
    test=10_000,
    validation=5_000,
    training=PRESETS["udp-lenet"],
    net={"name": "lenet"},
)
SIZES = {"smoke": SMOKE, "small": SMALL, "paper": PAPER}
FEW = {"schedule": "triangular", "learning_rate": 3e-3, "ema": 0.995}
"""How the rows beyond the paper are trained: fewer and longer steps pay for more epochs."""


def beyond(training: Training) -> tuple[Row, ...]:
    """Return the published recipes, and others at the same number of gradients a training image.

    Twenty steps and one for the loss, for so many epochs, cost what six steps and one cost for
    three times as many.
    """
    few = FEW | {"epochs": 3 * training.epochs}
    clean_too = few | {"epochs": round(2.6 * training.epochs)}  # TRADES asks for the clean answer
    return (
        *(row for row in ROWS if row.name in ("pgd", "udp")),
        Row("pgd .2, few steps", linf("pgd", 0.2, 0.05, 6), training=few),
        Row("udp .5, few steps", linf("udp", 0.5, 0.1, 6), training=few),
        Row("pgd .25, few steps", linf("pgd", 0.25, 0.0625, 6), training=few),
        Row(
            "trades .25, few steps",
            linf("trades", 0.25, 0.0625, 6, **SOFT),
            training=clean_too,
        ),
        Row(
            "udp-trades .5, few steps",
            linf("udp-trades", 0.5, 0.1, 6, **SOFT),
            training=clean_too,
        ),
    )


WIDE = (Row("standard", make_recipe("standard")), Row("udp", linf("udp", 0.1, 0.01, 10)))
WIDE_TRAINING = PRESETS["udp-lenet-capacity"]
WIDE_SIZES = {
    "smoke": SMOKE,
    "small": replace(SMALL, test=0, training=replace(WIDE_TRAINING, epochs=10)),
    "paper": replace(PAPER, training=WIDE_TRAINING),
}
WIDTHS = {"smoke": (1, 2), "small": (1, 2, 4), "paper": (1, 2, 4, 6, 8, 10, 12)}
ONE_STEP = (
    Row("fgsm", make_recipe("fgsm", threat=Threat("linf", 0.2)), {"many steps": 0.0}),
    Row("udp-1", make_recipe("udp", threat=Threat("linf", 0.2), steps=1, step_size=0.2)),
)
JUDGE = Judge("linf", 0.2, judge_steps=20, judge_count=500)
ONE_STEP_SIZES = {
    "smoke": replace(SMOKE, validation=50, training=replace(SMOKE.training, judge=JUDGE)),
    "small": replace(
        SMALL,
        validation=1_000,
        training=Training(epochs=30, batch_size=64, schedule="constant", judge=JUDGE),
    ),
    "paper": replace(
        PAPER,
        training=replace(PRESETS["udp-lenet"], judge=replace(JUDGE, judge_count=2_000)),
    ),
}

EXPERIMENTS = {
    "udp-fashion-mnist": Experiment(
        source="Pagliardini et al. 2022, Table 2 (Fashion-MNIST, LeNet)",
        remark=SMALLER + "Intervals are those of the test images; seeds differ by more. Published:"
        " 100 epochs, mean of 3 seeds, hyperparameters chosen on the reported radii, TRADES as in"
        " the authors' code (weight 1). UDP is expected to win in clean accuracy and in l2, and to"
        " lose at linf 0.2.",
        scales=at_scales(table, SIZES, rows=ROWS, threats=THREATS),
    ),
    "udp-beyond": Experiment(
        source="Beyond Pagliardini et al. 2022: six long steps, averaged weights, more epochs",
        remark=SMALLER
        + "Every row has the same number of gradients an image; published figures are"
        " those of Table 2. The gain is that of the schedule: with it PGD is ahead of UDP in linf.",
        scales={
            scale: partial(table, setting=setting, rows=beyond(setting.training), threats=THREATS)
            for scale, setting in SIZES.items()
        },
    ),
    "udp-capacity": Experiment(
        source="Pagliardini et al. 2022, Figure 5 (Fashion-MNIST, LeNet, width 1 to 12)",
        remark="Clean accuracy; the paper's claim is that UDP needs width to beat clean training.",
        scales={
            scale: partial(capacity, rows=WIDE, setting=setting, widths=WIDTHS[scale])
            for scale, setting in WIDE_SIZES.items()
        },
    ),
    "udp-overfitting": Experiment(
        source="Pagliardini et al. 2022, Figure 13 (Fashion-MNIST, LeNet, one step of 0.2)",
        remark="Validation images under FGSM and PGD-20 at linf 0.2; the paper prints no numbers:"
        " FGSM falls to about 0, UDP declines but not to 0.",
        scales=at_scales(overfitting, ONE_STEP_SIZES, rows=ONE_STEP),
    ),
}
