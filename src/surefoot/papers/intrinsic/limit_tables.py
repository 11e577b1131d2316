"""Tables of limits: Mahloujifar et al. 2019, and the authors' program of 2022 on digits."""

import csv
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from surefoot.papers.experiment import Experiment, at_scales
from surefoot.papers.limiting import PEER, SEARCHED, Case, limiting

HONEST = (
    "Half of the points search, a quarter calibrates the risk, a quarter reports; the published"
    " figures are of the half that also chose settings. An estimate from one region, not a proof."
    " Adversarial risk of the error-region kind. "
)


def _published(data: str) -> list[Case]:
    """Return the rows of a 2019 table, half-spaces beside the same figures as another family."""
    with Path(__file__).with_name("mahloujifar_2019.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["data"] == data]
    return [_case(line) for line in lines]


def _case(line: Mapping[str, str]) -> Case:
    settings = {
        "norm": line["norm"],
        "eps": float(Fraction(line["eps"])),
        "family": line["family"],
        "components": int(line["components"]),
        "risk": float(line["risk"]),
        "gamma": 0.0,
    }
    figures = {
        "risk": float(line["published_risk"]),
        "adversarial risk": float(line["published_adversarial_risk"]),
    }
    return Case(f"{line['norm']} {line['eps']}, {line['family']}", settings, figures)


def _peer(
    norm: str, eps: float, gamma: float, searched: Sequence[float] = (), new: Sequence[float] = ()
) -> Case:
    """Return a row of the authors' program: figures of the half that searched, and of the other."""
    names = ("risk", "adversarial risk", "label uncertainty")
    figures = dict(zip((name + SEARCHED for name in names), searched, strict=False))
    figures |= dict(zip(names, new, strict=False))
    family, components = ("balls", 5) if norm == "l2" else ("cubes", 10)
    settings = {
        **{"norm": norm, "eps": eps, "gamma": gamma, "family": family, "components": components},
        **{"risk": 0.05, "constraint": "component"},
    }
    return Case(f"{norm} {eps:g}, gamma {gamma:g}", settings, figures, calibrated=False)


DIGITS = [
    _peer("l2", 0.5, 0.0, (0.0535, 0.0835, 0.282), (0.0423, 0.1068, 0.263)),
    _peer("l2", 0.5, 0.35, (0.0523, 0.1002, 0.388), (0.0356, 0.1046, 0.358)),
    _peer("linf", 0.125, 0.0, (0.0523, 0.0612, 0.179), (0.0378, 0.0890, 0.166)),
    _peer("linf", 0.25, 0.0, (0.0535, 0.0880, 0.212), (0.0378, 0.1090, 0.307)),
    _peer("l2", 0.5, 0.8),
]
QUICK = [
    Case(
        f"{norm} {eps:g}, {family}",
        {
            **{"norm": norm, "eps": eps, "family": family, "components": components},
            **{"risk": 0.05, "gamma": 0.0},
        },
    )
    for norm, eps, family, components in (("l2", 0.5, "balls", 4), ("linf", 0.1, "half-spaces", 2))
]


def _table(data: str, risk: str, remark: str, small: int) -> Experiment:
    """Return a table at three sizes; scale smoke is about digits and has no published figures."""
    scales = at_scales(
        limiting,
        {
            "smoke": {"data": "digits", "cases": QUICK, "count": 600},
            "small": {"count": small},
            "paper": {},
        },
        data=data,
        cases=_published(data),
    )
    source = f"Mahloujifar et al. 2019, Tables 1 to 5: {NAMES[data]}, risk {risk}"
    return Experiment(source, HONEST + remark, scales)


NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
EXPERIMENTS = {
    "intrinsic-digits": Experiment(
        "Zhang, Evans 2022: their program on digits, same split, figure by figure",
        "Published: measured with the authors' program (linf 0.25 by a prototype of the same"
        " search, as the program crashes there). Label uncertainty: a logistic regression out of"
        " fold. At gamma 0.8 their program reports a region with balls counted twice; there is none"
        " for five balls that obey gamma one by one.",
        at_scales(limiting, {"smoke": {}, "small": {}, "paper": {}}, data=PEER, cases=DIGITS),
    ),
    "intrinsic-mnist": _table(
        "mnist",
        "1 %",
        "Half-spaces stand beside the figures of rectangles (2019). Scale small: 20,000 images, so"
        " that risk 1 % is 50 images of the part that reports.",
        20_000,
    ),
    "intrinsic-fashion-mnist": _table(
        "fashion-mnist",
        "5 %",
        "Half-spaces stand beside the figures of rectangles (2019). Scale small: 20,000 images.",
        20_000,
    ),
    "intrinsic-cifar10": _table(
        "cifar10",
        "5 %",
        "Half-spaces in l2 stand beside the first principal component (2019), in linf beside"
        " rectangles; Prescott et al. 2021 report about 5.6 % for half-spaces (read off a figure,"
        " radius not stated). Scale small: 6,000 images.",
        6_000,
    ),
}
