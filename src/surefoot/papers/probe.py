"""The transfer probe: how well frozen features of one task serve another (Table 4 of UDP).

The published recipe of the probe is not known; ours is a linear classifier.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.attacks.latent import open_layer
from surefoot.data import Data
from surefoot.models import device_of, frozen
from surefoot.stats import Interval, interval
from surefoot.types import Model

BATCH = 256
MOST_ITERATIONS = 2000


def features(model: Model, data: Data, *, layer: str) -> Float[Tensor, "N F"]:
    """Return what a layer gives out for each image, flat, in eval mode.

    Args:
        model: a module.
        data: images.
        layer: name of a module, as in `model.named_modules()`.
    """
    parts = []
    with frozen(model), torch.no_grad():
        for rows in torch.arange(len(data)).split(BATCH):
            images = data.batch(rows)[0].to(device_of(model))
            parts.append(open_layer(model, layer, images, model)[0].flatten(1).cpu())
    return torch.cat(parts)


def transfer_probe(
    model: Model, train: Data, test: Data, *, layer: str, regularisation: float = 1.0
) -> Interval:
    """Measure how well a linear classifier on frozen features tells the labels of another task.

    Logistic regression (L-BFGS) on features that are brought to mean 0 and deviation 1.

    Args:
        model: a module trained on any task; it stays as it is.
        train: images and labels of the new task.
        test: of the same task.
        layer: whose output is the feature vector.
        regularisation: C of scikit-learn: smaller is smoother.

    Returns:
        accuracy on `test`, with its exact 95 % interval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = LogisticRegression(C=regularisation, max_iter=MOST_ITERATIONS)
    probe = make_pipeline(StandardScaler(), linear)
    probe.fit(features(model, train, layer=layer).numpy(), train.labels.numpy())
    told = probe.predict(features(model, test, layer=layer).numpy())
    return interval(int((told == test.labels.numpy()).sum()), len(test))
