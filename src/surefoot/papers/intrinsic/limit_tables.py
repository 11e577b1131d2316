"""Tables of limits: Mahloujifar et al. 2019, and the authors' program of 2022 on digits."""

import csv
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from surefoot.papers.estimated_limits import PEER, SEARCHED, Case, limit_table
from surefoot.papers.experiment import Scales, at_scales


def _published(data: str) -> list[Case]:
    """Return the rows of a 2019 table, half-spaces beside the same figures as another family."""
    with Path(__file__).with_name("mahloujifar_2019.csv").open(encoding="utf-8") as file:
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
    norm: str,
    eps: float,
    gamma: float,
    searched: Sequence[float] = (),
    new: Sequence[float] = (),
    remark: str = "",
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
    name = f"{norm} {eps:g}, gamma {gamma:g}{remark}"
    return Case(name, settings, figures, calibrated=False)


DIGITS = [
    _peer("l2", 0.5, 0.0, (0.0535, 0.0835, 0.282), (0.0423, 0.1068, 0.263)),
    _peer("l2", 0.5, 0.35, (0.0523, 0.1002, 0.388), (0.0356, 0.1046, 0.358)),
    _peer("linf", 0.125, 0.0, (0.0523, 0.0612, 0.179), (0.0378, 0.0890, 0.166)),
    _peer(
        *("linf", 0.25, 0.0, (0.0535, 0.0880, 0.212), (0.0378, 0.1090, 0.307)),
        remark=" (a prototype of ours: their program crashes there)",
    ),
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


def _table(data: str, small: int) -> Scales:
    """Return a table at three sizes; scale smoke is about digits and has no published figures."""
    return at_scales(
        limit_table,
        {
            "smoke": {"data": "digits", "cases": QUICK, "count": 600},
            "small": {"count": small},
            "paper": {},
        },
        data=data,
        cases=_published(data),
    )


SCALES = {
    "intrinsic-digits": at_scales(
        limit_table, {"smoke": {}, "small": {}, "paper": {}}, data=PEER, cases=DIGITS
    ),
    "intrinsic-mnist": _table("mnist", 20_000),
    "intrinsic-fashion-mnist": _table("fashion-mnist", 20_000),
    "intrinsic-cifar10": _table("cifar10", 6_000),
}
