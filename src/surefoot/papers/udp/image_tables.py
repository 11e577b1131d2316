"""Fashion-MNIST, CIFAR-10, SVHN: Tables 1 to 5, Figures 4, 5, 12 to 14, and other schedules."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from surefoot.attacks.perturbation import Perturbation
from surefoot.papers.accuracy_table import capacity, table, transfer
from surefoot.papers.eps_sweep import over_eps
from surefoot.papers.experiment import Row, Setting, at_scales
from surefoot.papers.overfitting import overfitting
from surefoot.papers.udp.udp_rows import SOFT, STANDARD, linf, rows
from surefoot.threat import Threat
from surefoot.training import PRESETS, Augmentation, Judge, Training, make_recipe

SMOKE = Setting(
    data="digits",
    train=100,
    test=10,
    training=Training(epochs=2, batch_size=64, learning_rate=3e-3),
    net={"name": "lenet", "size": 8},
    protocol="margins",
    steps=2,
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
        SMOKE,
        train=64,
        test=8,
        training=replace(SMOKE.training, epochs=1),
        net={"name": "preactresnet18", "planes": 1, "width": 2},
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

CIFAR_MEDIUM = replace(
    CIFAR["small"],
    train=20_000,
    test=300,
    training=replace(CIFAR["small"].training, batch_size=256, weight_decay=5e-4),
    net={"name": "preactresnet18", "width": 16},
)
CIFAR_MEDIUM_AUGMENTED = replace(
    CIFAR_MEDIUM,
    training=replace(
        CIFAR_MEDIUM.training, epochs=20, augmentation=Augmentation(crop=4, flip=True)
    ),
)


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


def quicker(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with a quarter of the steps, no fewer than five, that reach as far."""
    return tuple(
        replace(row, recipe=replace(row.recipe, perturbation=_quicker(row.recipe.perturbation)))
        for row in rows
    )


def _quicker(perturbation: Any) -> Any:
    if not isinstance(perturbation, Perturbation) or perturbation.step_size is None:
        return perturbation
    steps = max(5, round(perturbation.steps / 4))
    length = round(perturbation.step_size * perturbation.steps / steps, 6)
    return replace(perturbation, steps=steps, step_size=length)


FASHION_THREATS = {"linf": (0.05, 0.1, 0.2), "l2": (1.5,)}
FASHION_ROWS = rows("fashion-mnist")
PRINTED = {row.name: row.published for row in FASHION_ROWS}
FEW_STEPS: dict[str, Any] = {"schedule": "triangular", "learning_rate": 3e-3, "ema": 0.995}
"""How the rows with other schedules are trained: fewer and longer steps pay for more epochs."""
MEDIUM = Setting(
    data="fashion-mnist",
    train=20_000,
    test=300,
    training=Training(epochs=15, batch_size=128, **FEW_STEPS),
    net={"name": "lenet"},
)
MEDIUM_ROWS = (
    STANDARD,
    Row("pgd", linf("pgd", 0.2, 0.05, 6), PRINTED["pgd"]),
    Row("trades", linf("trades", 0.2, 0.05, 6, **SOFT), PRINTED["trades"]),
    Row("udp .3", linf("udp", 0.3, 0.06, 6), PRINTED["udp .3"]),
    Row("udp", linf("udp", 0.5, 0.1, 6), PRINTED["udp"]),
    Row("udpr", linf("udpr", 0.5, 0.1, 6), PRINTED["udpr"]),
)


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
CIFAR_ROWS = (STANDARD, *rows("cifar10"))
AUGMENTED_ROWS = rows("cifar10-augmented")
LATENT_ROWS = (replace(STANDARD, published={"clean": 0.482}), *rows("cifar10-latent"))
TRANSFER = {
    "standard": 0.425,
    "trades .03": 0.427,
    "pgd .02": 0.426,
    "udp .06": 0.453,
    "trades .02": 0.431,
    "pgd .01": 0.433,
    "udp .04": 0.457,
}
"""Table 4: without, chosen for robustness, chosen for the trade-off."""
PROBED = tuple(
    Row(row.name, row.recipe, {"transfer": TRANSFER[row.name]})
    for row in CIFAR_ROWS
    if row.name in TRANSFER
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
TESTED = (0.005, 0.01, 0.02, 0.03, 0.04)


def swept(radii: Sequence[float], steps: int) -> dict[float, tuple[Row, ...]]:
    """Return the rows of each eps of the training: all steps together reach 1.5 eps, of UDP eps."""
    found: dict[float, tuple[Row, ...]] = {0.0: (STANDARD,)}
    for eps in radii:
        near, far = (eps, eps / steps, steps), (eps, 1.5 * eps / steps, steps)
        found[eps] = (
            Row("pgd", linf("pgd", *far, start="origin")),
            Row("trades", linf("trades", *far, **SOFT)),
            Row("udp", linf("udp", *near)),
            Row("udpr", linf("udpr", *near)),
        )
    return found


COUNTED = {
    "udp {1..K}": "uniform",
    "udp {1..K-1}": "uniform-below",
    "udp {2..K}": "uniform-from-two",
    "udp K": "fixed",
}
"""Number of steps: the authors' program, the paper's text, its Algorithm 1 to the letter, all."""


def dropping(width: int, planes: int = 3) -> dict[str, Any]:
    """Return PreActResNet-18 with dropout .2, perturbed through the mean of 5 draws."""
    net = {"name": "preactresnet18", "width": width, "planes": planes, "dropout": 0.2}
    return {"name": "dropout-ensemble", "model": net, "draws": 5, "seed": None}


DROPOUT = changed(
    CIFAR,
    smoke={
        "validation": 20,
        "net": dropping(2, planes=1),
        "training": replace(SMOKE.training, epochs=1, judge=replace(DROPOUT_JUDGE, judge_steps=3)),
    },
    small={
        "train": 2_500,
        "validation": 500,
        "net": dropping(8),
        "training": replace(CIFAR["small"].training, judge=DROPOUT_JUDGE),
    },
    paper={
        "net": dropping(64),
        "training": replace(
            CIFAR["paper"].training, judge=replace(DROPOUT_JUDGE, judge_count=1_000)
        ),
    },
)
HUB = "hf:ufldl-stanford/svhn"
SMALL = CIFAR["small"].training
SCALES = {
    "udp-fashion-mnist": at_scales(
        table,
        {**FASHION, "medium": {"setting": MEDIUM, "rows": MEDIUM_ROWS}},
        rows=(STANDARD, *FASHION_ROWS),
        threats=FASHION_THREATS,
    ),
    "udp-beyond": at_scales(
        table,
        {
            scale: {"setting": setting, "rows": rescheduled(setting.training)}
            for scale, setting in FASHION.items()
        },
        threats=FASHION_THREATS,
    ),
    "udp-step-counts": at_scales(
        table,
        changed(FASHION, small={"train": 5_000, "protocol": "fast"}),
        rows=tuple(
            Row(name, linf("udp", 0.5, 0.025, 20, step_counts=counts))
            for name, counts in COUNTED.items()
        ),
        threats=FASHION_THREATS,
    ),
    "udp-eps-fashion-mnist": at_scales(
        over_eps,
        {
            "smoke": {"setting": SMOKE, "sweep": swept((0.1,), 2)},
            "small": {
                "setting": replace(
                    FASHION["small"],
                    train=5_000,
                    test=0,
                    training=replace(FASHION["small"].training, epochs=8),
                ),
                "sweep": swept((0.05, 0.1, 0.3, 0.5), 6),
            },
            "paper": FASHION["paper"],
        },
        sweep=swept((0.05, 0.1, 0.2, 0.3, 0.4, 0.5), 20),
    ),
    "udp-eps-cifar10": at_scales(
        over_eps,
        {
            "smoke": {"setting": CIFAR["smoke"], "sweep": swept((0.03,), 2)},
            "small": {
                "setting": replace(CIFAR["small"], test=0),
                "sweep": swept((0.01, 0.03, 0.06), 5),
            },
            "paper": CIFAR["paper"],
        },
        sweep=swept((0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08), 20),
    ),
    "udp-capacity": at_scales(
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
    "udp-overfitting": at_scales(
        overfitting,
        changed(
            FASHION,
            smoke={"validation": 50, "training": replace(SMOKE.training, judge=JUDGE)},
            small={
                "validation": 1_000,
                "training": Training(epochs=30, batch_size=64, schedule="constant", judge=JUDGE),
            },
            paper={
                "training": replace(PRESETS["udp-lenet"], judge=replace(JUDGE, judge_count=2_000))
            },
        ),
        rows=ONE_STEP,
    ),
    "udp-cifar10": at_scales(
        table,
        {**CIFAR, "medium": {"setting": CIFAR_MEDIUM, "rows": quicker(CIFAR_ROWS)}},
        rows=CIFAR_ROWS,
        threats=CIFAR_THREATS,
    ),
    "udp-svhn": at_scales(
        table,
        changed(CIFAR, small={"data": HUB}, paper={"data": HUB, "validation": 6_257}),
        rows=rows("svhn"),
        threats=CIFAR_THREATS,
    ),
    "udp-cifar10-augmented": at_scales(
        table,
        {
            **changed(
                CIFAR,
                small={"training": replace(SMALL, augmentation=Augmentation(crop=4, flip=True))},
                paper={"training": PRESETS["udp-preactresnet18-augmented"]},
            ),
            "medium": {"setting": CIFAR_MEDIUM_AUGMENTED, "rows": quicker(AUGMENTED_ROWS)},
        },
        rows=AUGMENTED_ROWS,
        threats=CIFAR_THREATS,
    ),
    "udp-latent": at_scales(
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
    "udp-transfer": at_scales(
        transfer,
        {
            **CIFAR,
            "smoke": {"setting": CIFAR["smoke"], "rows": PROBED[:2], "other": "digits"},
            "medium": {"setting": CIFAR_MEDIUM, "rows": quicker(PROBED)},
        },
        rows=PROBED,
        other="cifar100",
        layer="11",
    ),
    "udp-overfitting-dropout": at_scales(
        overfitting,
        {
            "smoke": {"setting": DROPOUT["smoke"], "radii": (0.03,), "restarts": 2},
            "small": {"setting": DROPOUT["small"], "restarts": 2},
            "paper": {"setting": DROPOUT["paper"], "restarts": 10},
        },
        rows=DROPOUT_ROWS,
        radii=TESTED,
    ),
}
