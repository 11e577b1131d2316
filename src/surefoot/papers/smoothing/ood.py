"""OOD inputs: data and what is foreign to it, by net and by score."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surefoot.papers.detecting import detecting
from surefoot.papers.experiment import Experiment, Row, at_scales
from surefoot.papers.smoothing.rejection_gains import (
    CIFAR,
    CIFAR_SMALL,
    DIGITS,
    FASHION,
    FASHION_SMALL,
    RESNET,
    SMOKE,
    nets,
)

PROTOCOL = (
    "The seed's abstract says that smoothed uncertainty helps; its data sets and scores were not at"
    " hand. OOD inputs are the positives of every figure. Attacks make the data unsure and OOD"
    " inputs"
    " sure; guaranteed: AUROC of certified bounds, each of level 0.001 for its image. Intervals:"
    " bootstrap over images. "
)
DENSE = {"name": "mlp", "inputs": 64, "hidden": (64,)}
SMALLEST = {
    "setting": SMOKE,
    "scores": ("entropy",),
    "n_certify": 200,
    "radii": (0.125, 0.5),
    "steps": 3,
    "draws": 2,
}
FEW = "Scale small: 20,000 images, 8 epochs, 200 + 200 images, 500 samples."


def _experiment(
    source: str,
    remark: str,
    outside: Mapping[str, str],
    rows: tuple[Row, ...],
    small: Mapping[str, Any],
    paper: Mapping[str, Any],
) -> Experiment:
    """Return an experiment at sigma 0.25, the smallest scale about digits."""
    smoke = {
        **SMALLEST,
        "outside": dict.fromkeys(outside, "shuffled:digits"),
        "rows": (replace(rows[0], net=DENSE),),
    }
    scales = at_scales(
        detecting,
        {"smoke": smoke, "small": {"rows": rows[:1], **small}, "paper": paper},
        rows=rows,
        outside=outside,
        scores=("entropy", "least-confidence"),
        sigma=0.25,
        radii=(0.125, 0.25, 0.5),
    )
    return Experiment("Smoothed scores of OOD inputs: " + source, PROTOCOL + remark, scales)


def _mnist(data: str, called: str, other: str, source: str) -> Experiment:
    small = replace(FASHION_SMALL, data=data, test=200)
    paper = replace(FASHION, data=data)
    return _experiment(
        source,
        FEW,
        {called: other},
        nets(0.25),
        {"setting": small, "n_certify": 500, "steps": 10},
        {"setting": paper, "n_certify": 10_000, "radii": (0.125, 0.25, 0.5, 1.0)},
    )


EXPERIMENTS = {
    "smoothing-ood-digits": _experiment(
        "digits against shuffled digits, sigma 0.25",
        "OOD inputs are test digits of which the pixels are permuted.",
        {"shuffled": "shuffled:digits"},
        (replace(RESNET, name="MLP"),),
        {"setting": DIGITS, "n_certify": 1_000},
        {"setting": DIGITS, "n_certify": 1_000},
    ),
    "smoothing-ood-fashion-mnist": _mnist(
        "fashion-mnist", "MNIST", "mnist", "Fashion-MNIST and MNIST, sigma 0.25"
    ),
    "smoothing-ood-mnist": _mnist(
        "mnist", "Fashion-MNIST", "fashion-mnist", "MNIST and Fashion-MNIST, sigma 0.25"
    ),
    "smoothing-ood-cifar10": _experiment(
        "CIFAR-10 and CIFAR-100, ResNet-20, sigma 0.25",
        "Scale small: a ResNet-20 trained without noise by others, tuned with noise for 4 epochs"
        " on 10,000 images; 100 + 100 images, 200 samples.",
        {"CIFAR-100": "cifar100-ood"},
        (RESNET,),
        {
            "setting": replace(CIFAR_SMALL, test=100),
            "scores": ("entropy",),
            "n_certify": 200,
            "radii": (0.125, 0.25),
            "steps": 5,
            "draws": 16,
        },
        {"setting": CIFAR, "n_certify": 10_000},
    ),
}
