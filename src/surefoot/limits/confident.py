"""Which labels are likely wrong, by a model that did not see them: the confident joint.

Northcutt, Jiang, Chuang, "Confident Learning", JAIR 2021. Not here: the model.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surefoot.limits.label_uncertainty import label_uncertainty
from surefoot.types import Flags, Labels

NONE = -1
"""No class is confident enough."""


def likely_labels(probabilities: Float[Tensor, "B C"], labels: Labels) -> Int[Tensor, " B"]:
    r"""Return the class that each point likely belongs to; -1 where none is confident.

    $$ \hat y(x) = \arg\max_{j:\ p_j(x) \ge t_j} p_j(x), \quad
    t_j = \mathrm{mean}\{ p_j(x) : \text{label } j \} $$
    A class is confident at a point where it is at least as probable as on average at the points
    that carry its label; a class without any point never is.

    Args:
        probabilities: of a model that was not trained on the point.
        labels: as given, possibly wrong.
    """
    label_uncertainty(probabilities, labels)  # checks both
    exact = probabilities.double()
    one_hot = torch.nn.functional.one_hot(labels.long(), exact.shape[1]).double()
    count = one_hot.sum(0)
    mean = (exact * one_hot).sum(0) / count
    thresholds = torch.where(count > 0, mean, torch.inf)
    # Round-off of the mean must not shut out the points that carry it.
    confident = exact.masked_fill(exact < thresholds - 1e-12, -1.0)
    best = confident.max(1)
    return torch.where(best.values >= 0, best.indices, NONE)


def confident_joint(probabilities: Float[Tensor, "B C"], labels: Labels) -> Int[Tensor, "C C"]:
    """Count points by the label they carry (rows) and the class they likely belong to (columns).

    Points without a confident class are not counted. Off the diagonal: likely errors of labels.
    """
    likely, classes = likely_labels(probabilities, labels), probabilities.shape[1]
    known = likely != NONE
    cells = labels.long()[known] * classes + likely[known]
    return torch.bincount(cells, minlength=classes**2).view(classes, classes)


def noise_joint(probabilities: Float[Tensor, "B C"], labels: Labels) -> Float[Tensor, "C C"]:
    """Scale the confident joint so that each row holds all points of its label, and sums to 1.

    A label of which no point is confident is taken to be right.
    """
    counts = confident_joint(probabilities, labels).double()
    given = torch.bincount(labels.long(), minlength=len(counts)).double()
    silent = counts.sum(1) == 0
    counts[silent, silent.nonzero().flatten()] = 1.0
    return counts / counts.sum(1, keepdim=True) * given.unsqueeze(1) / len(labels)


def label_errors(
    probabilities: Float[Tensor, "B C"],
    labels: Labels,
    *,
    method: Literal["confident-joint", "noise-rate"] = "confident-joint",
) -> Flags:
    """Flag the points whose label is likely wrong.

    Args:
        probabilities: of a model that was not trained on the point: `out_of_fold`.
        labels: as given.
        method: "confident-joint": every point off the diagonal. "noise-rate": for each pair of
            classes as many points as `noise_joint` expects, those where the
            other class is most probable relative to the label (and more probable than it).

    Returns:
        True where the label is likely wrong.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
        >>> label_errors(p, torch.tensor([0, 0, 1, 1, 0])).tolist()
        [False, False, False, False, True]
    """
    if method == "confident-joint":
        likely = likely_labels(probabilities, labels)
        return (likely != NONE) & (likely != labels)
    wanted = noise_joint(probabilities, labels) * len(labels)
    flags = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for given, other in (wanted.round() * (1 - torch.eye(len(wanted)))).nonzero().tolist():
        rows = (labels == given).nonzero().flatten()
        excess = probabilities[rows, other] - probabilities[rows, given]
        top = excess.topk(min(len(rows), round(wanted[given, other].item())))
        flags[rows[top.indices[top.values > 0]]] = True
    return flags
