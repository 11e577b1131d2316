"""OOD inputs: data and what is foreign to it, by net and by score."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surefoot.papers.experiment import Row, Scales, at_scales
from surefoot.papers.ood_detection import ood_detection
from surefoot.papers.smoothing.rejection_gains import (
    CIFAR,
    CIFAR_MEDIUM,
    CIFAR_SMALL,
    DIGITS,
    FASHION,
    FASHION_SMALL,
    RESNET,
    SMOKE,
    nets,
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


def _experiment(
    outside: Mapping[str, str],
    rows: tuple[Row, ...],
    small: Mapping[str, Any],
    paper: Mapping[str, Any],
    **others: Mapping[str, Any],
) -> Scales:
    """Return an experiment at sigma 0.25, the smallest scale about digits."""
    smoke = {
        **SMALLEST,
        "outside": {"shuffled": "shuffled:digits"},
        "rows": (replace(rows[0], name="small MLP", net=DENSE),),
    }
    return at_scales(
        ood_detection,
        {"smoke": smoke, "small": {"rows": rows[:1], **small}, "paper": paper, **others},
        rows=rows,
        outside=outside,
        scores=("entropy", "least-confidence"),
        radii=(0.125, 0.25, 0.5),
    )


def _mnist(data: str, called: str, other: str) -> Scales:
    small = replace(FASHION_SMALL, data=data, test=200)
    paper = replace(FASHION, data=data)
    return _experiment(
        {called: other},
        nets(0.25),
        {"setting": small, "n_certify": 500, "steps": 10},
        {"setting": paper, "n_certify": 10_000, "radii": (0.125, 0.25, 0.5, 1.0)},
    )


SCALES = {
    "smoothing-ood-digits": _experiment(
        {"shuffled": "shuffled:digits"},
        (replace(RESNET, name="MLP"),),
        {"setting": DIGITS, "n_certify": 1_000},
        {"setting": DIGITS, "n_certify": 1_000},
    ),
    "smoothing-ood-fashion-mnist": _mnist("fashion-mnist", "MNIST", "mnist"),
    "smoothing-ood-mnist": _mnist("mnist", "Fashion-MNIST", "fashion-mnist"),
    "smoothing-ood-cifar10": _experiment(
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
        medium={"setting": replace(CIFAR_MEDIUM, test=500), "n_certify": 2_000},
    ),
}
