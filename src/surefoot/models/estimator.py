"""Classifiers without gradients: scikit-learn estimators, and plain functions, as modules."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surefoot.models.border import logits_in
from surefoot.types import Images, Outcomes

LEAST = 1e-12
"""Probabilities are clipped here before their log is taken."""


def from_estimator(estimator: Any) -> nn.Module:
    """Return a scikit-learn classifier as a model: logits are logs of its probabilities.

    Images are flattened to rows of features, in float64; the logits are float32. It has no
    gradients: attacks search it by Square, and smoothing certifies it. Outcome c is class c of the
    data: the estimator must be fitted on the numbers of the classes.

    Args:
        estimator: fitted, with `predict_proba` and `classes_`; a pipeline will do.

    Raises:
        ValueError: no `predict_proba`, not fitted, or classes that are no numbers from 0 on.
    """
    return Estimator(estimator)


class Estimator(nn.Module):
    """What `from_estimator` makes.

    Args:
        estimator: fitted.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        kind = type(estimator).__name__
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"a scikit-learn model needs predict_proba; {kind} has none. Fit it inside"
                " sklearn.calibration.CalibratedClassifierCV(estimator), which adds probabilities"
            )
        classes = getattr(estimator, "classes_", None)
        if classes is None:
            raise ValueError(f"{kind} has no classes_: call fit(features, labels) first")
        if isinstance(classes, list):
            raise ValueError(f"{kind} was fitted on several outputs; expected one label a row")
        self.classes = torch.from_numpy(_numbers(np.asarray(classes), kind))
        self.estimator, self.kind = estimator, kind

    def forward(self, images: Images) -> Outcomes:
        """Map images, flattened, to logs of clipped probabilities."""
        rows: Any = images.detach().flatten(1).cpu().double().numpy()
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is not None and len(names) == rows.shape[1]:
            import pandas as pd

            rows = pd.DataFrame(rows, columns=names)  # fitted on a table: it wants its columns back
        found = torch.from_numpy(np.asarray(self.estimator.predict_proba(rows), dtype=np.float64))
        every = torch.zeros(len(found), int(self.classes.max()) + 1, dtype=torch.float64)
        every[:, self.classes] = found
        return every.clamp(min=LEAST).log().float().to(images.device)


class Function(nn.Module):
    """A plain function from images to logits, as a module.

    Args:
        function: returns a tensor, a NumPy array, or what holds logits.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.rejects = bool(getattr(function, "rejects", False))

    def forward(self, images: Images) -> Outcomes:
        """Call the function."""
        return logits_in(self.function(images))


def _numbers(classes: np.ndarray, kind: str) -> np.ndarray:
    """Return the classes of an estimator as column numbers, or raise."""
    if (
        not np.issubdtype(classes.dtype, np.number)
        or not ((classes == classes.astype(np.int64)) & (classes >= 0)).all()
    ):
        listed = ", ".join(map(repr, classes[:3].tolist()))
        raise ValueError(
            f"{kind} was fitted on the classes {listed}, ...; expected the numbers of the classes"
            " in the data, from 0 on. Fit it on those: numpy.unique(labels, return_inverse=True)[1]"
            " numbers names in sorted order"
        )
    return classes.astype(np.int64)
