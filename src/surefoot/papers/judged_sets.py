"""Certified sets beside annotators' votes: does the set hold them, also where they are split?

A set that is large because the net is weak and one that is large because the image is ambiguous
look the same in every figure of labels alone; human votes tell them apart.
"""

import math

import numpy as np
import pandas as pd
from torch import Tensor

from surefoot.evaluation.certified_sets import Which, alternatives, certified_set
from surefoot.evaluation.metrics import fraction
from surefoot.evaluation.record import Record
from surefoot.stats import Interval

LEAST_VOTE = 0.05
"""A class that fewer people than this name is no choice of theirs."""
AGREEMENT = 0.9
"""Votes agree on an image if at least this fraction names the same class."""


def votes_inside(
    record: Record, probabilities: Tensor, radius: float, which: Which = "smallest"
) -> Interval:
    r"""Return the mean fraction of votes that lie in the certified set; 0 where rejected.

    $$ \frac{1}{N} \sum_n \sum_{c \in S_n} p_{nc} $$
    VRA, if the label of each image were one vote. The interval is Hoeffding's, at
    95 %: the terms lie in [0, 1] but are no coin flips.

    Args:
        record: with a certificate for sets.
        probabilities: fractions of votes `[N, C]`, of the evaluated rows in their order.
        radius: in the norm of the threat.
        which: certified set.
    """
    chosen, votes = _judged(record, probabilities, radius, which)
    value = float((chosen * votes).sum(1).mean())
    reach = math.sqrt(math.log(2 / 0.05) / (2 * len(votes)))
    return Interval(value, max(value - reach, 0.0), min(value + reach, 1.0))


def voted_sets(record: Record, probabilities: Tensor, radius: float) -> Interval | None:
    """Return, of the certified sets of two or more, the fraction whose every member is voted for.

    Named: by at least `LEAST_VOTE` of them. Smallest certified sets; None without any of two.
    """
    chosen, votes = _judged(record, probabilities, radius, "smallest")
    several = chosen.sum(1) > 1
    named = (chosen & (votes < LEAST_VOTE)).sum(1) == 0
    return fraction(pd.Series(named[several])) if bool(several.any()) else None


def sets_where_split(
    record: Record, probabilities: Tensor, radius: float
) -> tuple[Interval | None, Interval | None]:
    """Return the fraction with a certified set of two or more where votes are split, and not.

    Not split: at least `AGREEMENT` of them name the same class. None where there is no such image.
    """
    chosen, votes = _judged(record, probabilities, radius, "smallest")
    several, agreed = chosen.sum(1) > 1, votes.max(1) >= AGREEMENT
    parts = (several[~agreed], several[agreed])
    split, same = (fraction(pd.Series(part)) if len(part) else None for part in parts)
    return split, same


def _judged(
    record: Record, probabilities: Tensor, radius: float, which: Which
) -> tuple[np.ndarray, np.ndarray]:
    found = alternatives(record)
    if probabilities.shape != (len(record), found.classes):
        raise ValueError(
            f"`probabilities` must be [{len(record)}, {found.classes}], the votes on the evaluated"
            f" rows; found shape {tuple(probabilities.shape)}"
        )
    chosen = certified_set(found, radius, which)[:, : found.classes]
    return chosen, probabilities.double().numpy()
