"""The classifier of the largest margins in the plane, beside which nets stand (UDP, Figure 7)."""

import torch

from surefoot.data import Data
from surefoot.threat import Norm
from surefoot.types import Model, Outcomes, Points


def nearest_point_classifier(data: Data, *, norm: Norm) -> Model:
    r"""Return the classifier by the nearest point.

    $$ f_c(z) = -\min_{i: y_i = c} \lVert z - x_i \rVert $$

    No classifier that is right at both has a larger sum of the margins of a point and its nearest
    point of another class than their distance d. Here each point has a margin of at least d / 2:
    at a boundary point b the nearest points of both classes are equally far, so some x_j of
    another class has $\lVert x_i - x_j \rVert \le 2 \lVert x_i - b \rVert$. So smallest margin and
    margin efficiency (`boundaries.smallest_ratio`, `efficiency`) are 1, the best possible.

    Args:
        data: points of two classes, both present.
        norm: of the distances.
    """
    points, labels = data.batch(slice(None))
    order = 2 if norm == "l2" else torch.inf

    def outcomes(places: Points) -> Outcomes:
        classes = (points[labels == label] for label in range(2))
        return torch.stack([-torch.cdist(places, own, p=order).amin(1) for own in classes], 1)

    return outcomes
