"""How far a classifier stays below the estimated limit of its data.

Two kinds of adversarial risk meet here and are never mixed: the limit speaks of the error region
(an error counts where the perturbed point itself is misjudged), attack and certificate of the label
at x (the prediction must keep the label of the clean image). They agree as long as the true label
does not change within the radius.
"""

from dataclasses import dataclass

from surefoot.evaluation.metrics import attacked_accuracy, certified_accuracy
from surefoot.evaluation.record import Record
from surefoot.stats import Interval
from surefoot.wording import with_interval


@dataclass(frozen=True)
class GapToLimit:
    """A classifier beside the estimated limit at one radius.

    Attributes:
        radius: in the norm of the threat.
        limit: estimated best robustness of classifiers with as many errors, as disputed (error
            region).
        valid: the flag of the estimate.
        attacked: accuracy under attack (label at x); None if nothing was attacked.
        certified: certified accuracy (label at x); None without a certificate.
    """

    radius: float
    limit: Interval
    valid: bool
    attacked: Interval | None
    certified: Interval | None

    @property
    def unexplained(self) -> float | None:
        """Return the limit minus attacked accuracy: what the data do not explain."""
        return None if self.attacked is None else self.limit.value - self.attacked.value

    @property
    def crossed(self) -> bool:
        """Return whether a figure of the classifier certainly lies above the estimate.

        No contradiction: the limit is an estimate from one region, of another adversarial risk.
        """
        ours = [one for one in (self.attacked, self.certified) if one is not None]
        return any(one.low > self.limit.high for one in ours)

    def text(self) -> str:
        """Return one sentence, with the kind of every metric."""
        parts = [
            f"radius {self.radius:g}: estimated limit {with_interval(self.limit)} (error region)"
        ]
        if self.attacked is not None:
            parts.append(f"attacked accuracy {with_interval(self.attacked)} (label at x)")
        if self.certified is not None:
            parts.append(f"certified accuracy {with_interval(self.certified)} (label at x)")
        if self.unexplained is not None:
            parts.append(f"gap to the limit {100 * self.unexplained:+.1f} points")
        flags = ["" if self.valid else "the estimate is not valid"]
        flags.append("the classifier lies above the estimate" if self.crossed else "")
        return "; ".join(parts + [flag for flag in flags if flag])


def gap_to_limit(record: Record) -> list[GapToLimit]:
    """Join the figures of a record with the limit in its header, radius by radius.

    Radii without a feasible estimate are left out; all of them without an estimate.
    """
    return [
        GapToLimit(
            part.radius,
            part.robustness,
            part.valid,
            attacked_accuracy(record, part.radius) if record.header.attack is not None else None,
            certified_accuracy(record, part.radius),
        )
        for part in record.header.limit
        if part.feasible and part.robustness is not None
    ]
