"""How much larger radius (ii) is, by net and by measure of uncertainty."""

from dataclasses import replace

from surefoot.attacks import VoteSearch
from surefoot.papers.experiment import Row, Setting, at_scales
from surefoot.papers.rejection_radii import rejection_radii
from surefoot.training import Augmentation, Training, make_recipe

QUICK = VoteSearch(steps=5, draws=4, n_choose=100, n_confirm=400)
SCORES = ("entropy", "least-confidence", "margin-uncertainty")
OF_MEMBERS = ("mutual-information", "vote-disagreement")
DENSE = {"name": "mlp", "inputs": 784, "hidden": (256, 256)}
SMOKE = Setting(
    data="digits",
    train=300,
    test=30,
    training=Training(epochs=4, batch_size=64, learning_rate=3e-3),
    net={"name": "mlp", "inputs": 64, "hidden": (64,)},
)
DIGITS = replace(
    SMOKE,
    train=0,
    test=0,
    training=replace(SMOKE.training, epochs=60),
    net={"name": "mlp", "inputs": 64, "hidden": (128, 128)},
)
FASHION = Setting(
    data="fashion-mnist",
    train=0,
    test=0,
    training=Training(epochs=40, batch_size=256),
    net={"name": "lenet"},
)
FASHION_SMALL = replace(
    FASHION, train=20_000, test=200, training=Training(epochs=8, batch_size=128)
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = Setting(
    data="cifar10",
    train=0,
    test=0,
    training=Training(
        epochs=150,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=1e-4,
        augmentation=Augmentation(crop=4, flip=True),
    ),
    net={"name": "resnet20", "normalize": (MEAN, DEVIATION)},
)
CIFAR_SMALL = replace(
    CIFAR,
    train=10_000,
    test=100,
    training=Training(
        epochs=4, batch_size=128, learning_rate=1e-3, augmentation=Augmentation(crop=4, flip=True)
    ),
    start="models/resnet20_cifar10_akamaster.safetensors",
)

CIFAR_MEDIUM = replace(
    CIFAR_SMALL, train=20_000, test=200, training=replace(CIFAR_SMALL.training, epochs=10)
)


def nets(sigma: float) -> tuple[Row, ...]:
    """Return the nets for small images, trained with this noise."""
    return (
        Row("LeNet", make_recipe("noise", sigma=sigma)),
        Row("MLP", make_recipe("noise", sigma=sigma), net=DENSE),
        Row(
            "three MLPs",
            make_recipe("noise", sigma=sigma),
            net={"name": "ensemble", "nets": [DENSE] * 3},
        ),
    )


def _small(row: Row) -> Row:
    few = {"name": "mlp", "inputs": 64, "hidden": (32,)}
    several = {"name": "ensemble", "nets": [few] * 2}
    several_of = "nets" in row.net
    name = "two small MLPs" if several_of else f"small MLP for {row.name}"
    return replace(row, name=name, net=several if several_of else few)


SMALLEST = {
    "setting": SMOKE,
    "scores": ("entropy",),
    "n_certify": 200,
    "radii": (0.0, 0.25, 0.5, 1.0),
    "search": QUICK,
}
RESNET = Row("ResNet-20", make_recipe("noise"))
PREACT = replace(RESNET, name="PreActResNet-18", net={"name": "preactresnet18", "width": 64})
SEVERAL = (
    RESNET,
    replace(
        RESNET,
        name="three ResNet-20",
        net={"name": "ensemble", "nets": [CIFAR.net] * 3},
        training={"epochs": 30},
    ),
    replace(
        RESNET,
        name="PreActResNet-18, MC dropout",
        net={
            "name": "dropout-ensemble",
            "model": {**CIFAR.net, "name": "preactresnet18", "width": 16, "dropout": 0.2},
            "draws": 5,
        },
        training={"epochs": 30},
    ),
)
"""The first is the third party's, tuned; the others are drawn and trained longer."""

SCALES = {
    "smoothing-digits": at_scales(
        rejection_radii,
        {"smoke": SMOKE, "small": DIGITS, "paper": DIGITS},
        rows=(Row("MLP", make_recipe("noise", sigma=0.5)),),
        scores=SCORES,
        n_certify=1_000,
        radii=(0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.25),
        search=VoteSearch(),
    ),
    "smoothing-fashion-mnist": at_scales(
        rejection_radii,
        {
            "smoke": {
                **SMALLEST,
                "scores": ("entropy", *OF_MEMBERS),
                "rows": tuple(_small(row) for row in nets(0.5)),
            },
            "small": {"setting": FASHION_SMALL, "n_certify": 2_000},
            "paper": {"setting": FASHION, "n_certify": 100_000},
        },
        rows=nets(0.5),
        scores=SCORES + OF_MEMBERS,
        radii=(0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
        search=VoteSearch(),
    ),
    "smoothing-cifar10": at_scales(
        rejection_radii,
        {
            "smoke": {
                **SMALLEST,
                "rows": (_small(RESNET),),
            },
            "small": {"setting": CIFAR_SMALL, "scores": ("entropy",), "n_certify": 2_000},
            "medium": {
                "setting": CIFAR_MEDIUM,
                "rows": SEVERAL,
                "scores": (*SCORES, "mutual-information"),
                "n_certify": 10_000,
            },
            "paper": {"setting": CIFAR, "rows": (RESNET, PREACT), "n_certify": 100_000},
        },
        rows=(RESNET,),
        scores=SCORES,
        radii=(0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75),
        search=VoteSearch(),
    ),
}
