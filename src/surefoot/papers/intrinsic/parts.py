"""What curves and error regions share: classifiers at each scale."""

from dataclasses import replace

from surefoot.papers.experiment import Row, Setting
from surefoot.papers.subjects import Subject
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
SMOKE = (
    Subject("standard", Row("MLP", make_recipe("standard")), DENSE),
    Subject(
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
PAPER = (
    Subject("standard", BORROWED, THIRD, borrowed=True),
    Subject("standard", Row("PreActResNet-18", make_recipe("standard")), CIFAR),
    Subject(
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
SMALL = (
    Subject("standard", BORROWED, replace(THIRD, **QUICK), borrowed=True),
    Subject("standard", Row("LeNet", make_recipe("standard")), SHORT),
    Subject(
        "adversarially trained", Row("LeNet, PGD", make_recipe("pgd", threat=LINF, steps=3)), SHORT
    ),
)
