"""What each figure shows, in words, for readers who do not see it."""

from surefoot.evaluation.certified_sets import (
    MOST_SETS,
    groupings,
    relaxed_accuracy,
    strict_accuracy,
)
from surefoot.evaluation.metrics import (
    area_under_risk_coverage,
    attacked_accuracy,
    certified_accuracy,
    clean_accuracy,
)
from surefoot.evaluation.record import Record
from surefoot.report.gallery import named
from surefoot.report.perturbations import answers, chosen
from surefoot.report.rejection_chart import curves
from surefoot.wording import NORM_SIGNS, percent


def of_bracket(record: Record) -> str:
    """Say what the bracket chart shows: the figures at each radius."""
    parts = [f"clean {percent(clean_accuracy(record).value)}"]
    for radius in record.header.radii:
        attacked = attacked_accuracy(record, radius) if record.header.attack else None
        found = {"certified": certified_accuracy(record, radius), "attacked": attacked}
        said = [f"{kind} {percent(one.value)}" for kind, one in found.items() if one is not None]
        parts.append(f"at {record.header.radius_text(radius)} {', '.join(said) or 'nothing known'}")
    norm = NORM_SIGNS[record.header.norm]
    return f"Accuracy of {record.header.name} over the {norm} radius: {'; '.join(parts)}"


def of_rejection(record: Record) -> str:
    """Say what the rejection chart shows: each kind of error when all or half are kept."""
    parts = []
    for kind, curve in curves(record).items():
        half = curve[curve["coverage"] <= 0.5]
        kept = f"{percent(half['risk'].iloc[-1])} of the surest half" if len(half) else "one step"
        area = area_under_risk_coverage(curve)
        parts.append(f"{kind} {percent(curve['risk'].iloc[-1])} of all, {kept}, area {area:.3f}")
    return f"Error of {record.header.name} over the coverage: {'; '.join(parts)}"


def of_grid(record: Record) -> str:
    """Say which broken examples the perturbation grid shows."""
    told = [
        f"example {int(record.counterexamples['index'][row])}: {' becomes '.join(pair)}"
        for row in chosen(record.counterexamples)
        for pair in [answers(record, row)]
    ]
    return f"Image, change and result side by side; {'; '.join(told)}"


def of_gallery(record: Record) -> str:
    """Say which certified sets the gallery shows."""
    sets = "; ".join(named(record, one) for one in groupings(record, record.header.eps)[:MOST_SETS])
    return f"Images by their certified set, at {record.header.eps_text()}: {sets}"


def of_sets(record: Record) -> tuple[str, str]:
    """Say what the two charts of certified sets over the radius show at eps."""
    eps, at = record.header.eps, record.header.eps_text()
    relaxed, strict = relaxed_accuracy(record, eps), strict_accuracy(record, eps)
    return (
        f"Fraction certified and right over the radius, a line each k; at {at}"
        f" {percent(relaxed.value)} for some k",
        f"Sizes of the smallest certified sets over the radius; at {at} {percent(strict.value)}"
        " hold the label; figures in the table below",
    )
