"""OOD inputs: data and what is foreign to it, by net and by score."""

from dataclasses import replace

from surefoot.papers.detecting import detecting
from surefoot.papers.experiment import Experiment, Row, at_scales
from surefoot.papers.smoothing.rejection import (
    CIFAR,
    CIFAR_SMALL,
    DIGITS,
    FASHION,
    FASHION_SMALL,
    SMOKE,
    nets,
)
from surefoot.training import make_recipe

ASKED = (
    "The seed's abstract says that smoothed uncertainty helps; its data sets and scores were not at"
    " hand. OOD inputs are the positives of every figure. Attacks make the data unsure and OOD"
    " inputs"
    " sure; guaranteed: AUROC of certified bounds, each of level 0.001 for its image. Intervals:"
    " bootstrap over images. "
)
SCORES = ("entropy", "least-confidence")
QUICK = {"sigma": 0.25, "n_certify": 200, "radii": (0.125, 0.5), "steps": 3, "draws": 2}
DENSE = {"name": "mlp", "inputs": 64, "hidden": (64,)}


EXPERIMENTS = {
    "smoothing-ood-digits": Experiment(
        source="Smoothed scores of OOD inputs: digits against shuffled digits, sigma 0.25",
        remark=ASKED + "OOD inputs are test digits of which the pixels are permuted.",
        scales=at_scales(
            detecting,
            {"smoke": SMOKE},
            rows=(Row("MLP", make_recipe("noise", sigma=0.25)),),
            outside={"shuffled": "shuffled:digits"},
            scores=("entropy",),
            **QUICK,
        )
        | at_scales(
            detecting,
            {"small": DIGITS, "paper": DIGITS},
            rows=(Row("MLP", make_recipe("noise", sigma=0.25)),),
            outside={"shuffled": "shuffled:digits"},
            scores=SCORES,
            sigma=0.25,
            n_certify=1_000,
            radii=(0.125, 0.25, 0.5),
        ),
    ),
    "smoothing-ood-fashion-mnist": Experiment(
        source="Smoothed scores of OOD inputs: Fashion-MNIST and MNIST, sigma 0.25",
        remark=ASKED + "Scale small: 20,000 images, 8 epochs, 200 + 200 images, 500 samples.",
        scales=at_scales(
            detecting,
            {"smoke": SMOKE},
            rows=(Row("LeNet", make_recipe("noise", sigma=0.25), net=DENSE),),
            outside={"MNIST": "shuffled:digits"},
            scores=("entropy",),
            **QUICK,
        )
        | at_scales(
            detecting,
            {"small": replace(FASHION_SMALL, test=200)},
            rows=nets(0.25)[:1],
            outside={"MNIST": "mnist"},
            scores=SCORES,
            sigma=0.25,
            n_certify=500,
            radii=(0.125, 0.25, 0.5),
            steps=10,
        )
        | at_scales(
            detecting,
            {"paper": FASHION},
            rows=nets(0.25),
            outside={"MNIST": "mnist"},
            scores=SCORES,
            sigma=0.25,
            n_certify=10_000,
            radii=(0.125, 0.25, 0.5, 1.0),
        ),
    ),
    "smoothing-ood-mnist": Experiment(
        source="Smoothed scores of OOD inputs: MNIST and Fashion-MNIST, sigma 0.25",
        remark=ASKED + "Scale small: 20,000 images, 8 epochs, 200 + 200 images, 500 samples.",
        scales=at_scales(
            detecting,
            {"smoke": SMOKE},
            rows=(Row("LeNet", make_recipe("noise", sigma=0.25), net=DENSE),),
            outside={"Fashion-MNIST": "shuffled:digits"},
            scores=("entropy",),
            **QUICK,
        )
        | at_scales(
            detecting,
            {"small": replace(FASHION_SMALL, data="mnist", test=200)},
            rows=nets(0.25)[:1],
            outside={"Fashion-MNIST": "fashion-mnist"},
            scores=SCORES,
            sigma=0.25,
            n_certify=500,
            radii=(0.125, 0.25, 0.5),
            steps=10,
        )
        | at_scales(
            detecting,
            {"paper": replace(FASHION, data="mnist")},
            rows=nets(0.25),
            outside={"Fashion-MNIST": "fashion-mnist"},
            scores=SCORES,
            sigma=0.25,
            n_certify=10_000,
            radii=(0.125, 0.25, 0.5, 1.0),
        ),
    ),
    "smoothing-ood-cifar10": Experiment(
        source="Smoothed scores of OOD inputs: CIFAR-10 and CIFAR-100, ResNet-20, sigma 0.25",
        remark=ASKED
        + "Scale small: a ResNet-20 trained without noise by others, tuned with noise for 4 epochs"
        " on 10,000 images; 100 + 100 images, 200 samples.",
        scales=at_scales(
            detecting,
            {"smoke": SMOKE},
            rows=(Row("ResNet-20", make_recipe("noise", sigma=0.25), net=DENSE),),
            outside={"CIFAR-100": "shuffled:digits"},
            scores=("entropy",),
            **QUICK,
        )
        | at_scales(
            detecting,
            {"small": replace(CIFAR_SMALL, test=100)},
            rows=(Row("ResNet-20", make_recipe("noise", sigma=0.25)),),
            outside={"CIFAR-100": "cifar100-ood"},
            scores=("entropy",),
            sigma=0.25,
            n_certify=200,
            radii=(0.125, 0.25),
            steps=5,
            draws=16,
        )
        | at_scales(
            detecting,
            {"paper": CIFAR},
            rows=(Row("ResNet-20", make_recipe("noise", sigma=0.25)),),
            outside={"CIFAR-100": "cifar100-ood"},
            scores=SCORES,
            sigma=0.25,
            n_certify=10_000,
            radii=(0.125, 0.25, 0.5),
        ),
    ),
}
