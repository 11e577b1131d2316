r"""How well a vote tells OOD inputs from its own data: clean, attacked and with a guarantee.

A OOD input should look less certain than an image of the data. Asked are a score of the net and
four estimators of the same score under noise, all higher = less certain and in [0, 1]:

- `mean`: $E\,u(x + e)$;
- `median`: the median of $u(x + e)$;
- `unsure`: the fraction of samples with $u(x + e) > t$;
- `split`: the fraction of samples that do not vote for the top label.

An attacker makes images of the data unsure and OOD inputs sure, in an l2 ball. `attacked` is the
worse of what was counted at the image and at what the attack found, on noise of the same kind, so
adversarial <= clean for every figure by construction. `worst` is a certified bound: upper for the
data, lower for OOD inputs; the figure from these bounds is the guaranteed one.

Columns of `rows`, one row an image and radius: index (of its own set), inside, radius, `net`,
`attacked_net`, and for each estimator its name, `attacked_<name>` and `worst_<name>`; for the mean
also `worst_distribution`, the same bound from the whole distribution; `contradicted`: a estimator
whose confidence bound at the attacked image contradicts its certified bound.

Daeubener et al. 2024 (smoothed scores and OOD inputs); Bitterwolf, Meinke, Hein 2020 (guaranteed
AUROC).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from surefoot.attacks import lower_score, push_mean_score, raise_score
from surefoot.attacks.mean_score import MeanSearch
from surefoot.certify import smoothing
from surefoot.certify.smoothing import Table
from surefoot.data import Data
from surefoot.evaluation.identity import identity, identity_of, outcomes_of_all
from surefoot.evaluation.record import read_rows
from surefoot.evaluation.store import Chunk, Store, keep_outcomes, same_outcomes
from surefoot.files import write_csv, write_json
from surefoot.models.frozen import device_of
from surefoot.stats import Interval, bootstrap_interval, lower_bound, upper_bound
from surefoot.threat import Threat
from surefoot.types import Images
from surefoot.uncertainty.selective import score_of
from surefoot.uncertainty.vote import Vote

ESTIMATORS = ("mean", "median", "unsure", "split")
NET = "net"
EDGES = tuple(j / 1000 for j in range(1, 1001))
"""Ends of bins and possible thresholds; fine, because scores of sure images lie near 0."""
UNBOUNDED = {"energy": "vacuity-exp", "latent-variance": "gp-variance"}
CHUNK = 50
SLACK = 1e-12
"""What rounding may do to a figure."""


@dataclass(frozen=True)
class Detection:
    """Scores of all images.

    Args:
        rows: columns as in the module's docstring.
        header: what was asked for, and `warnings`.
    """

    rows: pd.DataFrame
    header: dict[str, Any]

    @property
    def radii(self) -> list[float]:
        """List the radii, increasing."""
        return sorted(self.rows["radius"].unique().tolist())

    def at(self, radius: float) -> pd.DataFrame:
        """Return the rows of one radius."""
        return self.rows[self.rows["radius"] == radius]

    def save(self, folder: Path) -> None:
        """Write `detection.csv` and `detection.json`."""
        write_csv(self.rows, folder / "detection.csv")
        write_json(self.header, folder / "detection.json")


@dataclass(frozen=True)
class Asked:
    """What is asked of each image.

    Args:
        score: of the uncertainty, in [0, 1], as for `Selective`.
        threshold: of the estimator `unsure`, a multiple of 1/1000, not chosen on these images.
        radii: of the l2 balls.
        alpha: level of each certified bound on its own, for each image.
        n_certify: noise samples counted, at the image and at each attacked one.
        steps: of the attacks.
        draws: samples behind each gradient.
        seed: of all noise.
    """

    score: str = "entropy"
    threshold: float = 0.5
    radii: tuple[float, ...] = (0.25,)
    alpha: float = 1e-3
    n_certify: int = 1000
    steps: int = 20
    draws: int = 32
    seed: int = 0


def detect(
    vote: Vote,
    inside: Data,
    outside: Data,
    *,
    asked: Asked | None = None,
    folder: Path | None = None,
) -> Detection:
    """Score, attack and bound images of the data and OOD inputs.

    Args:
        vote: a net without the column "uncertain", and the noise, as floating point gives it.
        inside: images that should look certain; their labels play no part.
        outside: OOD inputs, of the same shape.
        asked: score, radii, effort.
        folder: if given, a killed run goes on where it stood, and a finished one is read back.
    """
    asked = asked or Asked()
    _check(vote, inside, outside, asked)
    header = {
        "inside": _named(inside),
        "outside": _named(outside),
        "model": identity_of(vote.model, inside),
        "sigma": vote.sigma,
        **{name: value for name, value in vars(asked).items()},
        "error_budget": "each bound on its own, alpha for each image",
    }
    outcomes = {
        "inside": outcomes_of_all(vote.model, inside),
        "outside": outcomes_of_all(vote.model, outside),
    }
    header |= {"identity": identity(header)}
    finished = None if folder is None else _finished(folder, header["identity"], outcomes)
    if finished is not None:
        return finished
    store = Store(folder, header["identity"], outcomes)
    places = [(data, first) for data in (inside, outside) for first in range(0, len(data), CHUNK)]

    def compute(number: int) -> Chunk:
        data, first = places[number]
        images = data.inputs(slice(first, first + CHUNK)).to(device_of(vote.model))
        return Chunk(_rows(vote, images, first, data is inside, asked))

    store.fill(range(len(places)), compute, "detect OOD inputs")
    rows = pd.concat([store.read(number).rows for number in range(len(places))])
    rows = rows.sort_values(["radius", "inside", "index"], kind="stable", ignore_index=True)
    found = Detection(rows, header)
    found = Detection(rows, header | {"warnings": broken_orders(found)})
    if folder is not None:
        keep_outcomes(folder, outcomes)
        found.save(folder)
        store.clear()
    return found


def _finished(folder: Path, name: str, outcomes: dict[str, Tensor]) -> Detection | None:
    """Read the scores of this very question, if the folder holds them already."""
    try:
        header = json.loads((folder / "detection.json").read_text(encoding="utf-8"))
        rows = read_rows((folder / "detection.csv").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    same = header.get("identity") == name and same_outcomes(folder, outcomes)
    return Detection(rows, header) if same else None


def _check(vote: Vote, inside: Data, outside: Data, asked: Asked) -> None:
    if inside.images.shape[1:] != outside.images.shape[1:]:
        raise ValueError(
            f"the net sees images of one shape; {inside.name} has {tuple(inside.images.shape[1:])},"
            f" {outside.name} {tuple(outside.images.shape[1:])}"
        )
    if asked.score in UNBOUNDED:
        raise ValueError(
            f"bounds of a mean need a score in [0, 1]; {asked.score!r} has none. Take"
            f" {UNBOUNDED[asked.score]!r}, which orders images alike"
        )
    if asked.threshold not in EDGES:
        raise ValueError(f"`threshold` must be a multiple of 1/1000; found {asked.threshold!r}")
    if vote.levels:
        raise ValueError("bounds of scores leave no room for the error of whole-number noise")
    if not asked.radii or min(asked.radii) <= 0 or vote.sigma == 0:
        raise ValueError("need noise (sigma > 0) and radii above 0")


def _named(data: Data) -> dict[str, Any]:
    return {"name": data.name, "hash": data.fingerprint(), "count": len(data)}


def _rows(vote: Vote, images: Images, first: int, inside: bool, asked: Asked) -> pd.DataFrame:
    """Return the rows of a few images of one kind, at all radii."""
    here = _count(vote, images, asked)
    clean, net = _readings(here, asked), _net(vote, images, asked)
    parts = []
    for radius in asked.radii:
        moved, there = _attack(vote, images, inside, radius, asked)
        bounds = _bounds(here, asked, radius / vote.sigma)
        columns = {"index": range(first, first + len(images)), "inside": inside, "radius": radius}
        columns |= {NET: net, f"attacked_{NET}": _worse(net, _net(vote, moved, asked), inside)}
        for name in ESTIMATORS:
            columns[name] = clean[name]
            columns[f"attacked_{name}"] = _worse(clean[name], _readings(there, asked)[name], inside)
        columns |= {f"worst_{name}": (high if inside else low) for name, (low, high) in bounds}
        columns["contradicted"] = _contradicted(there, bounds, inside, asked)
        parts.append(pd.DataFrame({name: _plain(value) for name, value in columns.items()}))
    return pd.concat(parts)


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _count(vote: Vote, images: Images, asked: Asked) -> Table:
    key = (smoothing.CERTIFY, asked.seed)
    return smoothing.count(vote, images, asked.n_certify, *key, score=asked.score, edges=EDGES)


def _net(vote: Vote, images: Images, asked: Asked) -> Tensor:
    """Return the score of the net without noise; what is no number is the least certain."""
    return score_of(vote.model, images, asked.score).cpu().double().nan_to_num(1.0).clamp(0, 1)


def _worse(clean: Tensor, attacked: Tensor, inside: bool) -> Tensor:
    return torch.maximum(clean, attacked) if inside else torch.minimum(clean, attacked)


def _attack(
    vote: Vote, images: Images, inside: bool, radius: float, asked: Asked
) -> tuple[Images, Table]:
    """Return what attacks the net's own score, and the counts at what attacks the mean score."""
    threat = Threat("l2", radius)
    shared: dict[str, Any] = {"threat": threat, "score": asked.score}
    effort: dict[str, Any] = {"steps": asked.steps, "seed": asked.seed}
    alone = (raise_score if inside else lower_score)(vote.model, images, **shared, **effort)
    direction, how = "up" if inside else "down", MeanSearch(draws=asked.draws, **effort)
    smooth = push_mean_score(vote, images, direction=direction, how=how, **shared)
    return alone, _count(vote, smooth, asked)


def _readings(table: Table, asked: Asked) -> dict[str, Tensor]:
    """Read what was counted, `[B]` each; a broken sample is as unsure as can be."""
    scores, draws = table.scores(), table.draws
    bins = scores.shape[1] - 1
    middles = torch.cat([(torch.arange(bins).double() + 0.5) / bins, torch.ones(1).double()])
    below = scores[:, :-1].cumsum(1)
    half = below >= math.ceil(draws / 2)
    ends = torch.arange(1, bins + 1).double() / bins
    votes = table.votes(asked.threshold)
    return {
        "mean": scores.double() @ middles / draws,
        "median": torch.where(half.any(1), ends[half.int().argmax(1)], 1.0),
        "unsure": (draws - votes.labels.sum(1)).double() / draws,
        "split": 1 - table.votes().labels.amax(1).double() / draws,
    }


class ScoreBound(NamedTuple):
    """Lower and upper bound of a estimator, `[B]` each."""

    low: Tensor
    high: Tensor


Bounds = list[tuple[str, ScoreBound]]


def _bounds(table: Table, asked: Asked, shift: float) -> Bounds:
    """Bound every estimator anywhere within the shift, each side at level alpha."""
    scores, alpha = table.scores(), asked.alpha
    return [
        ("mean", ScoreBound(*smoothing.mean_bounds(scores, shift, alpha))),
        ("distribution", ScoreBound(*smoothing.distribution_bounds(scores, shift, alpha))),
        ("median", ScoreBound(*smoothing.quantile_bounds(scores, 0.5, shift, alpha))),
        ("unsure", _unsure_bounds(table, asked.threshold, shift, alpha)),
        ("split", _split_bounds(table, shift, alpha)),
    ]


def _unsure_bounds(table: Table, threshold: float, shift: float, alpha: float) -> ScoreBound:
    """Bound the probability of unsure samples: one count a side; broken ones on the bad side."""
    votes, draws = table.votes(threshold), table.draws
    low = lower_bound(votes.outcomes[:, -1], draws, alpha)
    high = upper_bound(draws - votes.labels.sum(1), draws, alpha)
    return ScoreBound(_moved(low, -shift), _moved(high, shift))


def _split_bounds(table: Table, shift: float, alpha: float) -> ScoreBound:
    r"""Bound $1 - \max_c p_c$ within the shift.

    Above: some mass is at least the lower bound of the most counted label, which is chosen on the
    same counts, so alpha is shared by all labels. Below: $\max_c p_c(x') \le \Phi(\Phi^{-1}(\max_c
    p_c(x)) + \rho)$, and only the bound of the truly heaviest label can fail, so each has alpha.
    """
    (labels, _, broken), draws = table.votes(), table.draws
    least = lower_bound(labels.amax(1), draws, alpha / labels.shape[1])
    most = upper_bound((labels.amax(1) + broken), draws, alpha)
    return ScoreBound(1 - _moved(most, shift), 1 - _moved(least, -shift))


def _moved(mass: Tensor, shift: float) -> Tensor:
    """Return the fraction to which a mass can move within the shift."""
    moved = torch.special.ndtr(torch.special.ndtri(mass.clamp(0, 1)) + shift)
    return torch.where(mass <= 0, 0.0, torch.where(mass >= 1, 1.0, moved))


def _contradicted(there: Table, bounds: Bounds, inside: bool, asked: Asked) -> Tensor:
    """Return where counts at the attacked image refute a certified bound, up to twice alpha."""
    counted = dict(_bounds(there, asked, 0.0))
    refuted = [
        counted[name].low > bound.high if inside else counted[name].high < bound.low
        for name, bound in bounds
    ]
    return torch.stack(refuted).any(0)


class Figures(NamedTuple):
    """How well scores tell OOD inputs, which are the positives.

    Args:
        auroc: area under the ROC curve; ties count half.
        aupr_in: average precision for images of the data, the most certain first.
        aupr_out: average precision for OOD inputs, the least certain first.
        fpr95: least fraction of the data that is refused by a threshold that refuses at least 95 %
            of the OOD inputs.
        accuracy: best mean of the fractions of OOD inputs refused and of the data accepted.
    """

    auroc: float
    aupr_in: float
    aupr_out: float
    fpr95: float
    accuracy: float


def figures(inside: np.ndarray, scores: np.ndarray) -> Figures:
    """Judge scores (higher = less certain) by scikit-learn; equal scores share a threshold."""
    strange = ~np.asarray(inside, bool)
    refused_data, refused_ood, _ = roc_curve(strange, scores, drop_intermediate=False)
    return Figures(
        auroc=float(roc_auc_score(strange, scores)),
        aupr_in=float(average_precision_score(~strange, -scores)),
        aupr_out=float(average_precision_score(strange, scores)),
        fpr95=float(refused_data[refused_ood >= 0.95].min()),
        accuracy=float((0.5 * (refused_ood + 1 - refused_data)).max()),
    )


def kinds(estimator: str) -> dict[str, str]:
    """Name the column behind each kind of figure; the score of the net has no guarantee.

    The two forms of the mean's bound have alpha each, and stand apart for it.
    """
    columns = {"clean": estimator, "attacked": f"attacked_{estimator}"}
    if estimator == NET:
        return columns
    columns["guaranteed"] = f"worst_{estimator}"
    return columns | ({"by distribution": "worst_distribution"} if estimator == "mean" else {})


def summary(found: Detection) -> pd.DataFrame:
    """Judge every estimator at every radius.

    Returns:
        one row a radius, estimator and kind of `kinds`: `radius`, `estimator`, `kind`, the fields
        of `Figures`.
    """
    lines = []
    for radius in found.radii:
        rows = found.at(radius)
        for estimator in (NET, *ESTIMATORS):
            for kind, column in kinds(estimator).items():
                judged = figures(rows["inside"].to_numpy(), rows[column].to_numpy())
                line = {"radius": radius, "estimator": estimator, "kind": kind}
                lines.append(line | judged._asdict())
    return pd.DataFrame(lines)


def broken_orders(found: Detection) -> list[str]:
    """Return where guaranteed <= adversarial <= clean fails, and where an attack refutes a bound.

    The adversarial figure is counted: with few samples it may fall below the guaranteed one by
    chance, where bound and attack are tight. What is said here is reported and never repaired.
    """
    lines = []
    for radius in found.radii:
        for estimator in (NET, *ESTIMATORS):
            areas = areas_of(found, radius, estimator)
            clean, attacked = areas.pop("clean"), areas.pop("attacked")
            at = f"{estimator} at radius {radius:g}: "
            if attacked > clean + SLACK:
                lines.append(f"{at}adversarial AUROC {attacked:.4f} above the clean, {clean:.4f}")
            lines += [
                f"{at}AUROC {value:.4f}, {kind}, above the adversarial one, {attacked:.4f}"
                for kind, value in areas.items()
                if value > attacked + SLACK
            ]
    refuted = int(found.rows["contradicted"].sum())
    if refuted:
        lines.append(
            f"{refuted} of {len(found.rows)} rows have counts at the attacked image that refute a"
            f" certified bound; chance alone allows at most {2 * found.header['alpha']:g} a row and"
            " bound"
        )
    return lines


def areas_of(found: Detection, radius: float, estimator: str) -> dict[str, float]:
    """Return the AUROC of each kind of `kinds`."""
    rows = found.at(radius)
    inside = rows["inside"].to_numpy()
    return {kind: auroc(inside, rows[name].to_numpy()) for kind, name in kinds(estimator).items()}


def auroc(inside: np.ndarray, scores: np.ndarray) -> float:
    """Return the fraction of pairs in which the OOD input looks less certain; ties count half."""
    inside = np.asarray(inside, bool)
    return float(_area(scores[inside], scores[~inside]))


def auroc_interval(inside: np.ndarray, scores: np.ndarray, *, seed: int = 0) -> Interval:
    """Return AUROC with its percentile bootstrap interval (95 %), each kind drawn on its own."""
    inside = np.asarray(inside, bool)
    kinds = scores[inside], scores[~inside]
    return bootstrap_interval(auroc(inside, scores), kinds, _area, seed=seed)


def gain_interval(
    inside: np.ndarray, ours: np.ndarray, other: np.ndarray, *, seed: int = 0
) -> Interval:
    """Return AUROC(ours) - AUROC(other) with its interval, both on the same drawn images."""

    def gain(data: np.ndarray, ood: np.ndarray, axis: int = -1) -> Any:
        return _area(ours[data], ours[ood], axis) - _area(other[data], other[ood], axis)

    places = np.flatnonzero(inside), np.flatnonzero(~np.asarray(inside, bool))
    return bootstrap_interval(float(gain(*places)), places, gain, seed=seed)


def _area(data: np.ndarray, ood: np.ndarray, axis: int = -1) -> Any:
    """Return the AUROC of scores, by the sum of ranks (Mann, Whitney)."""
    from scipy.stats import rankdata

    many, few = data.shape[axis], ood.shape[axis]
    ranks = rankdata(np.concatenate([data, ood], axis), axis=axis)
    total = np.take(ranks, range(many, many + few), axis).sum(axis)
    return (total - few * (few + 1) / 2) / (many * few)
