"""Labels and probabilities as scikit-learn has them, with rejection."""

import math

import numpy as np
import torch

from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.types import Images, Model, Outcomes, checked_images, rejects
from surefoot.uncertainty.selective import accepted

REJECTED = -1


def predict(model: Model, images: Images, *, batch_size: int = 500) -> np.ndarray:
    """Return the label of each image, `[B]`; -1 where it is rejected, or no answer is finite.

    Args:
        model: maps images to outcomes, with a last column "uncertain" if it `rejects`.
        images: `[B, ...]`.
        batch_size: images in one pass.
    """
    outcomes = _outcomes(model, images, batch_size)
    found = outcomes.nan_to_num(-torch.inf).argmax(1)
    refused = ~outcomes.isfinite().all(1)
    if rejects(model):  # a tie with "uncertain" is no label
        refused |= ~accepted(outcomes)
        found = outcomes[:, :-1].nan_to_num(-torch.inf).argmax(1)
    return found.masked_fill(refused, REJECTED).numpy()


def predict_proba(model: Model, images: Images, *, batch_size: int = 500) -> np.ndarray:
    """Return the softmax over the labels, `[B, C]`; the column "uncertain" takes no part."""
    outcomes = _outcomes(model, images, batch_size)
    return (outcomes[:, :-1] if rejects(model) else outcomes).softmax(1).numpy()


def _outcomes(model: Model, images: Images, batch_size: int) -> Outcomes:
    # Any finite values: a prediction needs no box.
    images, device = checked_images(images, -math.inf, math.inf), device_of(model)
    with torch.no_grad(), frozen(model):
        parts = [outcomes_of(model, part.to(device)) for part in images.split(batch_size)]
    return torch.cat(parts).float().cpu()
