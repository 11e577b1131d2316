"""The error region of a classifier: how large it is, and annotator disagreement inside it.

Zhang, Evans, ICLR 2022: errors of real classifiers lie where annotators disagree. The control are
balls of equal measure around random points: what a region chosen without looking at labels would
have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.data import Data
from surefoot.evaluation.metrics import fraction
from surefoot.evaluation.record import Record
from surefoot.limits import label_uncertainty
from surefoot.limits.measures import uncertainty_interval
from surefoot.limits.neighbours import euclidean
from surefoot.stats import Interval, rank_correlation
from surefoot.streams import generator
from surefoot.types import Flags, PerExample, Points

ROWS = 200
"""Centres compared with all points at once."""


@dataclass(frozen=True)
class ErrorRegion:
    """Where a classifier errs, beside balls of equal measure.

    Attributes:
        name: of the record.
        risk: fraction of the examples in the region (Clopper-Pearson, 95 %).
        label_uncertainty: mean inside (betting, 95 %).
        elsewhere: mean over all other examples; NaN if there are none.
        balls: mean over the random balls, and their 2.5 and 97.5 % quantiles (no interval of the
            mean: where single balls lie).
        p_value: (1 + balls with at least as much label uncertainty) / (1 + balls).
    """

    name: str
    risk: Interval
    label_uncertainty: Interval
    elsewhere: float
    balls: Interval
    p_value: float


def wrong(record: Record) -> Flags:
    """Flag the examples that are not right, as the limit in the header counts them.

    A rejection is wrong under `Local`, and not under `LabelOrUncertain`.
    """
    return ~torch.from_numpy(record.rows["clean"].to_numpy().copy())


def human_uncertainty(data: Data) -> PerExample:
    """Return the label uncertainty of each image by the votes of annotators."""
    if data.probabilities is None:
        raise ValueError(
            f"{data.name} has no votes of annotators, so its label uncertainty is not known: take"
            " cifar10h, blended-digits or an .npz with `probabilities`, or give the uncertainty"
        )
    return label_uncertainty(data.probabilities, data.labels).double()


def error_region(
    record: Record,
    data: Data,
    uncertainty: PerExample | None = None,
    *,
    balls: int = 1000,
    seed: int = 0,
) -> ErrorRegion | None:
    """Measure the error region of a record and hold it against random balls of its size.

    Args:
        record: of any model.
        data: the evaluated rows, in their order.
        uncertainty: label uncertainty of each; None: by the votes in `data`.
        balls: how many.
        seed: of the centres and the bootstrap, >= 0.

    Returns:
        The region; None for a classifier without an error on these rows.

    Raises:
        ValueError: data of another length; no uncertainty.
    """
    errors = wrong(record)
    unsure = human_uncertainty(data) if uncertainty is None else uncertainty.double()
    if not len(record) == len(data) == len(unsure):
        raise ValueError(
            f"`record`, `data` and `uncertainty` must speak of the same rows; found {len(record)},"
            f" {len(data)} and {len(unsure)}"
        )
    size = int(errors.sum())
    if size == 0:
        return None
    points = data.inputs(slice(None)).flatten(1)
    control = random_balls(points, unsure, [size], balls=balls, seed=seed)
    return against_balls(record, unsure, control[:, 0], seed=seed)


def against_balls(
    record: Record, uncertainty: PerExample, control: Float[Tensor, " K"], *, seed: int = 0
) -> ErrorRegion:
    """Put the error region of a record beside balls of its size that were measured already."""
    errors, unsure = wrong(record), uncertainty.double()
    ours = uncertainty_interval(unsure[errors], seed)
    larger = int((control >= ours.value - 1e-12).sum())
    low, high = control.quantile(control.new_tensor([0.025, 0.975])).tolist()
    middle = control.mean().item()
    return ErrorRegion(
        record.header.name,
        fraction(~record.rows["clean"]),
        ours,
        unsure[~errors].mean().item(),
        Interval(middle, min(low, middle), max(high, middle)),
        (1 + larger) / (1 + len(control)),
    )


def correlation(regions: Sequence[ErrorRegion]) -> Interval:
    """Correlate risk and label uncertainty of error regions, by ranks; see `rank_correlation`.

    Zhang, Evans, ICLR 2022: the fewer errors, the more disputed they are, so it is negative. The
    interval speaks of other classifiers on these images.
    """
    risk, unsure = (
        np.array([getattr(one, name).value for one in regions])
        for name in ("risk", "label_uncertainty")
    )
    return rank_correlation(risk, unsure)


def random_balls(
    points: Points,
    uncertainty: PerExample,
    sizes: Sequence[int],
    *,
    balls: int = 1000,
    seed: int = 0,
) -> Float[Tensor, "K S"]:
    """Average label uncertainty over the l2-nearest neighbours of random points.

    Args:
        points: flat.
        uncertainty: of each point.
        sizes: points in a ball, its centre included; each in [1, N].
        balls: centres: points drawn without return, all of them if there are no more.
        seed: of the draw, >= 0.

    Returns:
        One row a centre, one column a size; float64.
    """
    if not sizes or not 1 <= min(sizes) <= max(sizes) <= len(points) or balls < 1:
        raise ValueError(
            f"`sizes` must lie in [1, {len(points)}], the points there are, and `balls` be at least"
            f" 1; found sizes {list(sizes)}, balls {balls}"
        )
    exact = points.double() - points.double().mean(0)
    columns, squares = exact.T.contiguous(), exact.square().sum(1)
    centres = torch.randperm(len(points), generator=generator(seed, 2))[:balls]
    at = torch.tensor(list(sizes)) - 1
    means = []
    for rows in centres.split(ROWS):
        apart = euclidean(exact[rows], columns, squares)
        # Of equal points the lower index comes first; the centre itself comes before them all.
        apart[torch.arange(len(rows)), rows] = -1.0
        order = apart.sort(dim=1, stable=True).indices[:, : max(sizes)]
        sums = uncertainty.double()[order].cumsum(1)
        means.append(sums[:, at] / (at + 1))
    return torch.cat(means)
