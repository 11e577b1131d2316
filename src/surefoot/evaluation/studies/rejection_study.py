"""What a rejecting vote certifies at every threshold of its score, from one set of noise samples.

The gain of radius (ii) over plain smoothing is a curve over the threshold, not a number: it is
bought with rejections. All estimators of (ii) stand beside plain smoothing with one bound (sigma
Phi^-1 p_A) and with two; what two bounds alone bring is no gain of rejection. A rejected image has
a radius (ii) too (it stays rejected, or gets its label), which can make most of a gain: so each
gain is given three times (`COUNTED`): all images, accepted ones only, and rejected ones as 0.

Columns of `rows`, one row an image and threshold: index, label, threshold, and those of
`smoothing.TwoRadii` (`prediction` is its label, `plain_prediction` its plain_label);
`top_fraction`: the fraction of the samples that name the plain prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from surefoot.certify import smoothing
from surefoot.certify.smoothing import Sampling
from surefoot.data import Data
from surefoot.evaluation.identity import identity, identity_of, outcomes_of_all
from surefoot.evaluation.metrics import fraction
from surefoot.evaluation.store import Chunk, Store
from surefoot.files import write_csv, write_json
from surefoot.models.frozen import device_of
from surefoot.stats import Interval, bootstrap_interval
from surefoot.uncertainty.vote import Vote

PLAIN = ("one_bound", "plain")
"""Radii without rejection."""
SECOND = ("pairwise", "tight", "majority")
"""Readings of radius (ii)."""
COUNTED = ("all", "accepted", "zero")
"""Which images a gain counts: all with their radius; accepted ones only, on both sides; all, with
radius (ii) 0 where rejected."""
ESTIMATORS = (*PLAIN, "certain", "majority_certain", *SECOND)
CHUNK = 50


@dataclass(frozen=True)
class Rejection:
    """Radii of all images at all thresholds.

    Args:
        rows: columns as in the module's docstring.
        header: what was asked for.
    """

    rows: pd.DataFrame
    header: dict[str, Any]

    @property
    def thresholds(self) -> list[float]:
        """List the thresholds, increasing."""
        return sorted(self.rows["threshold"].unique().tolist())

    def at(self, threshold: float) -> pd.DataFrame:
        """Return the rows of one threshold."""
        return self.rows[self.rows["threshold"] == threshold]

    def halves(self) -> tuple["Rejection", "Rejection"]:
        """Part the images: the first half chooses a threshold, on the others it is quoted."""
        middle = self.rows["index"].nunique() // 2
        chooses = self.rows["index"] < self.rows["index"].min() + middle
        return replace(self, rows=self.rows[chooses]), replace(self, rows=self.rows[~chooses])

    def save(self, folder: Path) -> None:
        """Write `rejection.csv` and `rejection.json`."""
        write_csv(self.rows, folder / "rejection.csv")
        write_json(self.header, folder / "rejection.json")


def rejection_curve(
    vote: Vote,
    data: Data,
    *,
    score: str = "entropy",
    thresholds: Sequence[float] = smoothing.UNIT[4::5],
    folder: Path | None = None,
    **settings: Any,
) -> Rejection:
    """Count once, and read the radii of every threshold off the counts.

    Args:
        vote: a net without the column "uncertain", and the noise.
        data: evaluated whole.
        score: of the uncertainty, as for `Selective`.
        thresholds: increasing; fixed before the samples are drawn.
        folder: if given, a killed run goes on where it was stopped.
        settings: fields of `Sampling`: alpha (of each radius on its own, for each image), n_select,
            n_certify (10,000) and seed.
    """
    fields: dict[str, Any] = {"n_certify": 10_000, **settings}
    sampling = Sampling(**fields)
    key = {name: getattr(sampling, name) for name in ("alpha", "n_select", "n_certify", "seed")}
    alpha, n_select, n_certify, seed = key.values()
    header = {
        "data": {"name": data.name, "hash": data.fingerprint(), "count": len(data)},
        "model": identity_of(vote.model, data),
        "sigma": vote.sigma,
        "levels": vote.levels,
        "score": score,
        "thresholds": list(thresholds),
        **key,
        "error_budget": "each radius on its own, alpha for each image",
    }
    header |= {"identity": identity(header)}
    outcomes = {data.name: outcomes_of_all(vote.model, data)}
    store, places = Store(folder, header["identity"], outcomes), range(0, len(data), CHUNK)

    def compute(first: int) -> Chunk:
        images, labels = data.batch(slice(first, first + CHUNK))
        images = images.to(device_of(vote.model))
        how, error = {"score": score, "edges": thresholds}, vote.tv_error(images) or 0.0
        chosen = smoothing.count(vote, images, n_select, smoothing.SELECT, seed, **how)
        table = smoothing.count(vote, images, n_certify, smoothing.CERTIFY, seed, **how)
        parts, labels_of = [], chosen.votes().labels.argmax(1, keepdim=True)
        top = table.votes().labels.gather(1, labels_of).squeeze(1)
        mass = {"top_fraction": (top.double() / table.draws).numpy()}
        for threshold in thresholds:
            radii = smoothing.two_radii(
                chosen, table, threshold, vote.sigma, alpha, error=error
            )._asdict()
            names = {"label": "prediction", "plain_label": "plain_prediction"}
            columns = {names.get(key, key): value.numpy() for key, value in radii.items()}
            place = {"index": range(first, first + len(labels)), "label": labels.numpy()}
            parts.append(pd.DataFrame(place | {"threshold": threshold} | mass | columns))
        return Chunk(pd.concat(parts))

    store.fill(places, compute, f"count {data.name}")
    rows = pd.concat([store.read(first).rows for first in places])
    rows = rows.sort_values(["threshold", "index"], kind="stable")
    found = Rejection(rows.reset_index(drop=True), header)
    if folder is not None:
        found.save(folder)
        store.clear()
    return found


def right_radii(rows: pd.DataFrame, estimator: str) -> np.ndarray:
    """Return the radius of each image, 0 where the label is wrong."""
    prediction = rows["plain_prediction" if estimator in PLAIN else "prediction"]
    return np.where(prediction == rows["label"], rows[estimator], 0.0)


def kept(rows: pd.DataFrame, estimator: str) -> np.ndarray:
    """Return which images the rule that the estimator belongs to accepts."""
    return ~rows[rejected_by(estimator)].to_numpy(dtype=bool)


def rejected_by(estimator: str) -> str:
    """Return the column that tells which images the rule of a estimator rejects."""
    return "undecided" if estimator.startswith("majority") else "uncertain"


def paired_radii(
    rows: pd.DataFrame, estimator: str, counted: str = "all", base: str = "plain"
) -> tuple[np.ndarray, np.ndarray]:
    """Return radius (ii) and the plain radius of the images that `counted` asks for."""
    ours, plain, accepted = (
        right_radii(rows, estimator),
        right_radii(rows, base),
        kept(rows, estimator),
    )
    if counted == "accepted":
        return ours[accepted], plain[accepted]
    return (ours if counted == "all" else np.where(accepted, ours, 0.0)), plain


def _gain(ours: np.ndarray, plain: np.ndarray) -> float:
    total = plain.sum()
    return float(ours.sum() / total - 1) if total > 0 else float("nan")


def summary(found: Rejection) -> pd.DataFrame:
    """Average over the images at each threshold.

    Returns:
        one row a threshold: `threshold`, `rejected` and `undecided` (fractions of images that the
        vote and the vote of the rule majority reject), the mean radius of right images for each
        estimator (errors count 0), and for each estimator of (ii) the ratio to plain smoothing with
        two bounds, minus 1: `gain_<estimator>` over all images, `gain_accepted_<estimator>`,
        `gain_zero_<estimator>` (`COUNTED`); and `gain_one_<estimator>`: against one bound, over all
        images.
    """
    lines = []
    for threshold in found.thresholds:
        rows = found.at(threshold)
        means = {estimator: float(right_radii(rows, estimator).mean()) for estimator in ESTIMATORS}
        rejected = {"rejected": rows["uncertain"].mean(), "undecided": rows["undecided"].mean()}
        line = {"threshold": threshold, **rejected, **means}
        for estimator in SECOND:
            for counted in COUNTED:
                name = f"gain_{estimator}" if counted == "all" else f"gain_{counted}_{estimator}"
                line[name] = _gain(*paired_radii(rows, estimator, counted))
            line[f"gain_one_{estimator}"] = _gain(*paired_radii(rows, estimator, base="one_bound"))
        lines.append(line)
    return pd.DataFrame(lines)


def gain_interval(
    found: Rejection,
    threshold: float,
    estimator: str,
    *,
    counted: str = "all",
    base: str = "plain",
    seed: int = 0,
) -> Interval:
    """Return a gain of `summary` with its percentile bootstrap interval over the images (95 %)."""
    ours, plain = paired_radii(found.at(threshold), estimator, counted, base)
    value = _gain(ours, plain)

    def gain(ours: np.ndarray, plain: np.ndarray, axis: int) -> np.ndarray:
        return ours.mean(axis) / plain.mean(axis) - 1

    return bootstrap_interval(value, (ours, plain), gain, paired=True, seed=seed)


def best_gain(table: pd.DataFrame, estimator: str, rejected: float = 0.4) -> pd.Series:
    """Return the row of `summary` with the largest gain among those that reject at most so many.

    Rejections are those of the rule that the estimator belongs to.

    An optimistic pick on these images: quote it on others (`Rejection.halves`).
    """
    share_of = "undecided" if estimator == "majority" else "rejected"
    allowed = table[table[share_of] <= rejected]
    if allowed.empty:
        raise ValueError(f"every threshold rejects more than {rejected:g} of the images")
    return allowed.iloc[int(allowed[f"gain_{estimator}"].to_numpy().argmax())]


def certified_curve(
    found: Rejection, threshold: float, estimators: Sequence[str], radii: Sequence[float]
) -> pd.DataFrame:
    """Lay out certified accuracy over the radius: `row`, `x`, `y`, `low`, `high`."""
    rows, lines = found.at(threshold), []
    for estimator in estimators:
        held = right_radii(rows, estimator)
        for radius in radii:
            ours = fraction(pd.Series((held > 0) & (held >= radius)))
            bounds = {"y": ours.value, "low": ours.low, "high": ours.high}
            lines.append({"row": estimator, "x": radius, **bounds})
    return pd.DataFrame(lines)


def fractions(found: Rejection, radius: float, estimator: str = "tight") -> pd.DataFrame:
    """Part the images at each threshold: certified, accepted, rejected, wrong; they add up to 1.

    Returns:
        one row a threshold: `threshold`, `certified` (accepted, right, the radius holds),
        `accepted` (and right, but not certified), `rejected`, `wrong` (accepted).
    """
    lines = []
    for threshold in found.thresholds:
        rows = found.at(threshold)
        kept = ~rows["uncertain"].to_numpy()
        right = kept & (rows["prediction"] == rows["label"]).to_numpy()
        certified = right & (right_radii(rows, estimator) >= radius)
        parts = (certified, right & ~certified, ~kept, kept & ~right)
        names = ("certified", "accepted", "rejected", "wrong")
        line = {name: float(part.mean()) for name, part in zip(names, parts, strict=True)}
        lines.append({"threshold": threshold} | line)
    return pd.DataFrame(lines)
