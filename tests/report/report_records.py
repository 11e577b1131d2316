"""Synthetic records for the report: made from numbers, no model is run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from surefoot.attacks.counted import Cost
from surefoot.evaluation.header import (
    AttackPart,
    CertificatePart,
    DataPart,
    Header,
    LimitPart,
    LipschitzPart,
    ModelPart,
    SmoothingPart,
    Work,
)
from surefoot.evaluation.record import Record
from surefoot.guarantees import LabelOrUncertain, Local, RelaxedTopK
from surefoot.stats import Interval
from surefoot.threat import Threat

LIPSCHITZ = LipschitzPart()
SMOOTHING = SmoothingPart(0.25, 0.001, 100, 10_000, error_budget="alpha is spent once an example")


def make_rows(count: int, radii: list[float], classes: int, *, seed: int = 0) -> pd.DataFrame:
    """Draw rows that obey certified < attacked."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, classes, count)
    clean = draw.random(count) < 0.93
    score = np.clip(draw.beta(2, 6, count) + 0.25 * ~clean, 0, 1)
    true_radius = radii[-1] * draw.gamma(3.0, 0.45, count) * (1.25 - score)
    certified = np.where(clean, true_radius * draw.uniform(0.3, 0.9, count), 0.0)
    first = np.array([next((r for r in radii if r >= t), np.inf) for t in true_radius])
    attacked = np.where(clean, first, 0.0)
    return pd.DataFrame(
        {
            "index": np.arange(count) * 3,
            "label": label,
            "prediction": np.where(clean, label, (label + 1) % classes),
            "accepted": True,
            "certified_accepted": True,
            "score": score,
            "set": [str(value) for value in label],
            "set_size": 1,
            "sets": [str(value) for value in label],
            "radii": [repr(value) for value in certified.tolist()],
            "clean": clean,
            "certified": certified,
            "attacked": attacked,
            "nearest": np.where(np.isfinite(attacked) & clean, true_radius, np.inf),
            "attack": np.where(np.isfinite(attacked), "apgd-ce", ""),
            "samples": 0,
        }
    )


WORK = Work(
    forwards=40320,
    backwards=36000,
    seconds=8.2,
    retried=32,
    missed=1,
    grey=30,
    costs={
        "checks": Cost(720, 0, 0.0, 0, 0),
        "apgd-ce": Cost(19800, 18000, 4.1, 0, 211),
        "apgd-t": Cost(19800, 18000, 4.1, 0, 12),
        "square": Cost(),
    },
)


def make_header(name: str, radii: list[float], classes: list[str], **changes: Any) -> Header:
    header = Header(
        name,
        ModelPart(f"{name}-net", hash="9f2c41d07ab3"),
        DataPart("digits", 360, tuple(classes), "07aa19bb02cd"),
        Local().describe(),
        Threat("l2", radii[-1]),
        tuple(radii),
        config={"eps": radii[-1], "seed": 0},
        dimension=64,
        certificate=LIPSCHITZ,
        attack=AttackPart("apgd-ce + apgd-t", 0, {"steps": 100}, WORK),
        versions={"surefoot": "0.1.0", "torch": "2.13.0", "numpy": "2.3.4", "python": "3.12.3"},
        seeds={"attack": 0, "noise": 1},
        command=f"surefoot evaluate --model runs/{name} --data digits --eps {radii[-1]}",
        seconds=12.3,
    )
    return replace(header, **changes)


def make_limit(radius: float, value: float, *, valid: bool = True) -> LimitPart:
    return LimitPart(
        radius,
        feasible=True,
        valid=valid,
        demanded_risk=0.03,
        gamma=0.0,
        risk=Interval(0.05, 0.03, 0.08),
        adversarial_risk=Interval(1 - value, 0.0, 1.0),
        label_uncertainty=Interval(0.2, 0.1, 0.3),
        robustness=Interval(value, value - 0.06, min(value + 0.05, 1.0)),
    )


def make_witnesses(shape: tuple[int, ...], outcomes: int, eps: float, count: int = 8) -> dict:
    generator = torch.Generator().manual_seed(1)
    rows = torch.linspace(-1, 1, shape[-1])
    blob = torch.exp(-4 * (rows[:, None] ** 2 + (rows - 0.2) ** 2)) if len(shape) == 3 else 0.5
    images = (blob * torch.ones(count, *shape)).clamp(0, 1)
    change = torch.randn(count, *shape, generator=generator)
    change = eps * change / change.flatten(1).norm(dim=1).view(-1, *[1] * len(shape))
    before = torch.full((count, outcomes), 0.02)
    after = before.clone()
    before[:, 1], after[:, -1] = 0.9, 0.6
    return {
        "index": torch.arange(count).flip(0) * 3,
        "images": images,
        "adversarial": (images + change).clamp(0, 1),
        "radius": torch.full((count,), eps),
        "before": before,
        "after": after,
    }


def make_record(
    name: str = "gloro",
    *,
    count: int = 360,
    certificate: CertificatePart | None = LIPSCHITZ,
    norm: str = "l2",
    radii: list[float] | None = None,
    classes: list[str] | None = None,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    **header: Any,
) -> Record:
    """Make a record; `shape` of the broken images, None for no counterexamples."""
    radii = radii or ([2 / 255, 4 / 255, 8 / 255] if norm == "linf" else [0.1, 0.25, 0.5])
    classes = classes or [str(digit) for digit in range(10)]
    rows = make_rows(count, radii, len(classes), seed=seed)
    if certificate is None:
        rows["certified"] = np.nan
        rows["radii"] = ""
    changes = {"certificate": certificate, "threat": Threat(norm, radii[-1]), **header}
    counterexamples = make_witnesses(shape, len(classes) + 1, radii[-1]) if shape else {}
    return Record(rows, make_header(name, radii, classes, **changes), counterexamples)


def make_selective(name: str = "selective", **changes: Any) -> Record:
    """Make a LabelOrUncertain record that refuses its least certain examples."""
    record = make_record(name, guarantee=LabelOrUncertain().describe(), **changes)
    accepted = record.rows["score"] < 0.4
    prediction = record.rows["prediction"]
    rows = record.rows.assign(
        accepted=accepted,
        clean=record.rows["clean"] | ~accepted,
        set=[f"{label}|10" for label in prediction],
        set_size=2,
        sets=[f"{label}|10" for label in prediction],
    )
    rows.loc[~accepted, "attacked"] = np.inf
    return Record(rows, record.header, record.counterexamples)


def make_set_valued(name: str = "rtk", **changes: Any) -> Record:
    """Make a RelaxedTopK(2) record of three classes with 40 examples and known sets.

    At 0.5: 10 right alone, 10 right in a pair {0, 1}, 10 wrong alone, 10 rejected.
    """
    classes = ["a", "b", "c"]
    record = make_record(name, count=40, classes=classes, guarantee=RelaxedTopK(2).describe())
    sets = ["0;0|1"] * 10 + ["0;0|1"] * 10 + ["2;1|2"] * 10 + ["0;0|2"] * 10
    radii = ["0.6;0.1"] * 10 + ["0.2;0.6"] * 10 + ["0.6;0.7"] * 10 + ["0.1;0.3"] * 10
    certified = [0.6] * 20 + [0.7] * 10 + [0.3] * 10
    rows = record.rows.assign(
        label=[0] * 10 + [1] * 10 + [1] * 10 + [0] * 10,
        sets=sets,
        radii=radii,
        clean=True,
        certified=certified,
        attacked=[np.inf] * 30 + [0.5] * 10,
        nearest=[np.inf] * 30 + [0.5] * 10,
    )
    return Record(rows, replace(record.header, **changes))
