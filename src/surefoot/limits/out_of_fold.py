"""Calibrated probabilities of a model for points it was not trained on, in place of votes."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.types import Images, Labels
from surefoot.uncertainty.temperature import fit_temperature

Calibration = Literal["none", "temperature", "isotonic"]
TINY = 1e-12


def out_of_fold(
    points: Images,
    labels: Labels,
    *,
    make: Callable[[], Any] | None = None,
    folds: int = 10,
    calibration: Calibration = "temperature",
    seed: int = 0,
) -> Float[Tensor, "B C"]:
    """Estimate label distributions by a model trained on the other folds.

    Every row comes from a model that did not see it; its calibration is fitted on the out-of-fold
    rows of the OTHER folds, so the label of a point never enters its own probabilities. It is
    uncertainty of a model, not annotator disagreement: errors of the model look like disputed
    labels.

    Args:
        points: any shape a point; flattened.
        labels: classes 0 ... C - 1, each with at least `folds` points.
        make: returns an untrained scikit-learn classifier; None: logistic regression, C = 0.3.
        folds: stratified and shuffled; at least 2, with calibration at least 3.
        calibration: "temperature" (one number, `fit_temperature` on log probabilities),
            "isotonic" (one monotone function a class, then rows are normalised) or "none".
        seed: of the folds.

    Raises:
        ValueError: too few folds, a class with fewer points than folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    least = int(torch.bincount(labels).min())
    if folds < (2 if calibration == "none" else 3) or least < folds:
        raise ValueError(
            f"every class needs at least `folds` points, and calibration at least 3 folds; found"
            f" {folds} folds and a class of {least} points"
        )
    x, y = points.flatten(1).double().cpu().numpy(), labels.cpu().numpy()
    fractions = np.empty((len(x), int(labels.max()) + 1))
    fold = np.empty(len(x), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    # Its own threads would spin against each other on a busy machine: minutes instead of seconds.
    with threadpool_limits(torch.get_num_threads()):
        for number, (train, held) in enumerate(splitter.split(x, y)):
            own = make() if make else LogisticRegression(C=0.3, max_iter=500)
            own.fit(x[train], y[train])
            fractions[held], fold[held] = own.predict_proba(x[held]), number
    raw = torch.from_numpy(fractions)
    if calibration == "none":
        return raw
    fit = {"temperature": _tempered, "isotonic": _isotonic}[calibration]
    own_fold, target = torch.from_numpy(fold), torch.from_numpy(y)
    found = torch.empty_like(raw)
    for number in range(folds):
        held = own_fold == number
        found[held] = fit(raw, target, held)
    return found


def _tempered(fractions: Tensor, labels: Tensor, held: Tensor) -> Tensor:
    logits = fractions.clamp_min(TINY).log()
    return (logits[held] / fit_temperature(logits[~held], labels[~held])).softmax(1)


def _isotonic(fractions: Tensor, labels: Tensor, held: Tensor) -> Tensor:
    from sklearn.isotonic import IsotonicRegression

    columns = []
    for name in range(fractions.shape[1]):
        curve = IsotonicRegression(y_min=TINY, y_max=1.0, out_of_bounds="clip")
        curve.fit(fractions[~held, name].numpy(), (labels[~held] == name).double().numpy())
        columns.append(torch.from_numpy(curve.predict(fractions[held, name].numpy())))
    together = torch.stack(columns, 1)
    return together / together.sum(1, keepdim=True)
