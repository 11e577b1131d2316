"""CIFAR-10H: how robust classifiers of a given risk could be, and label uncertainty of errors."""

from dataclasses import replace

from surefoot.papers.compared_nets import ComparedNet
from surefoot.papers.error_regions import error_regions
from surefoot.papers.estimated_limits import Case, Limit, limits_over_risk
from surefoot.papers.experiment import Row, Setting, at_scales
from surefoot.papers.region_families import region_families
from surefoot.report.error_region_chart import PublishedRange
from surefoot.threat import Threat
from surefoot.training import Augmentation, Training, make_recipe

LINF = Threat("linf", 8 / 255)
NEAR = Threat("linf", 0.1)
"""For digits."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DENSE = Setting(
    data="blended-digits",
    train=300,
    test=100,
    training=Training(epochs=4, batch_size=64, learning_rate=3e-3),
    net={"name": "mlp", "inputs": 64, "hidden": (32,)},
    protocol="pgd",
    steps=5,
)
SMOKE_SUBJECTS = (
    ComparedNet("standard", Row("MLP", make_recipe("standard")), DENSE),
    ComparedNet(
        "adversarially trained", Row("MLP, PGD", make_recipe("pgd", threat=NEAR, steps=3)), DENSE
    ),
)
AUGMENTED = Augmentation(crop=4, flip=True)
CIFAR = Setting(
    data="cifar10",
    train=0,
    test=1_000,
    training=Training(
        epochs=100,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=5e-4,
        augmentation=AUGMENTED,
    ),
    net={"name": "preactresnet18", "width": 64, "normalize": (MEAN, DEVIATION)},
    protocol="standard",
)
THIRD = replace(
    CIFAR,
    net={"name": "resnet20", "normalize": (MEAN, DEVIATION)},
    start="models/resnet20_cifar10_akamaster.safetensors",
)
BORROWED = Row("ResNet-20 (third party)", make_recipe("standard"))
PAPER_SUBJECTS = (
    ComparedNet("standard", BORROWED, THIRD, borrowed=True),
    ComparedNet("standard", Row("PreActResNet-18", make_recipe("standard")), CIFAR),
    ComparedNet(
        "adversarially trained", Row("PreActResNet-18, PGD", make_recipe("pgd", threat=LINF)), CIFAR
    ),
)
QUICK = {"test": 300, "protocol": "pgd", "steps": 20}
SHORT = replace(
    CIFAR,
    **QUICK,
    train=20_000,
    net={"name": "lenet", "planes": 3, "size": 32, "width": 3, "normalize": (MEAN, DEVIATION)},
    training=Training(epochs=10, batch_size=128, learning_rate=2e-3, augmentation=AUGMENTED),
)
SMALL_SUBJECTS = (
    ComparedNet("standard", BORROWED, replace(THIRD, **QUICK), borrowed=True),
    ComparedNet("standard", Row("LeNet", make_recipe("standard")), SHORT),
    ComparedNet(
        "adversarially trained", Row("LeNet, PGD", make_recipe("pgd", threat=LINF, steps=3)), SHORT
    ),
)

ALPHA, GAMMA = "published, F_alpha", "published, F_alpha,gamma"
FITS = {ALPHA: (0.993, -1.09, 0.165), GAMMA: (0.985, -1.63, 0.161)}
HALF_SPACES = {"family": "half-spaces", "components": 1, "gamma": 0.0}
LINES = (
    Case("F_alpha, half-spaces", HALF_SPACES, fit=ALPHA),
    Case(
        "F_alpha,gamma .17, cubes, protocol of the authors",
        {"family": "cubes", "components": 10, "gamma": 0.17, "constraint": "component"},
        fit=GAMMA,
        calibrated=False,
    ),
    Case(
        "F_alpha,gamma .17, half-spaces",
        {"family": "half-spaces", "components": 4, "gamma": 0.17},
        fit=GAMMA,
    ),
)
DIGIT_LINES = tuple(replace(line, fit="") for line in LINES)

RANGES = {
    "standard": (
        PublishedRange((0.065, 0.08), (0.24, 0.27)),
        PublishedRange((0.12, 0.18), (0.17, 0.21)),
        PublishedRange((0.25, 0.30), (0.135, 0.16)),
        PublishedRange((0.37, 0.39), (0.11, 0.12)),
    ),
    "adversarially trained": (
        PublishedRange((0.13, 0.18), (0.175, 0.205)),
        PublishedRange((0.20, 0.25), (0.15, 0.17)),
        PublishedRange((0.33, 0.36), (0.13, 0.13)),
    ),
}
"""Read off the paper's figure: risk, label uncertainty of the errors."""
FAMILIES_SMOKE = {
    "data": "blended-digits",
    "threat": NEAR,
    "risks": (0.1,),
    "seeds": SMOKE_SUBJECTS[:1],
    "published": None,
}

SCALES = {
    "intrinsic-cifar10h": at_scales(
        limits_over_risk,
        {
            "smoke": {
                "data": "blended-digits",
                "threat": NEAR,
                "limit": Limit((0.05, 0.1), DIGIT_LINES, {}, 2),
                "sweeps": {"eps": (0.05, 0.1), "components": (1, 2), "points": (200, 500)},
                "subjects": SMOKE_SUBJECTS,
                "published": "",
            },
            "small": {
                "limit": Limit((0.02, 0.05, 0.1, 0.16), LINES, FITS, 1),
                "sweeps": {
                    "eps": (2 / 255, 8 / 255, 16 / 255),
                    "points": (1_000, 3_000, 10_000),
                },
                "subjects": SMALL_SUBJECTS,
            },
            "paper": {
                "limit": Limit((0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.16), LINES, FITS, 5),
                "sweeps": {
                    "eps": (2 / 255, 4 / 255, 8 / 255, 16 / 255),
                    "gamma": (0.0, 0.05, 0.1, 0.15, 0.2),
                    "components": (1, 2, 4, 8),
                    "points": (1_000, 3_000, 10_000),
                },
                "subjects": PAPER_SUBJECTS,
            },
        },
        data="cifar10h",
        threat=LINF,
        published="robustbench_cifar10_2021.csv",
    ),
    "intrinsic-families": at_scales(
        region_families,
        {
            "smoke": FAMILIES_SMOKE,
            "small": {"risks": (0.05, 0.1, 0.16), "seeds": SMALL_SUBJECTS[:1]},
            "paper": {"risks": (0.02, 0.05, 0.1, 0.16), "seeds": PAPER_SUBJECTS},
        },
        data="cifar10h",
        threat=LINF,
        gamma=0.17,
        published=FITS[GAMMA],
    ),
    "intrinsic-error-regions": at_scales(
        error_regions,
        {
            "smoke": {
                "data": "blended-digits",
                "threat": NEAR,
                "subjects": SMOKE_SUBJECTS,
                "balls": 50,
                "published": {},
            },
            "small": {"subjects": SMALL_SUBJECTS},
            "paper": {"subjects": PAPER_SUBJECTS},
        },
        data="cifar10h",
        threat=LINF,
        balls=1000,
        published=RANGES,
    ),
}
