"""What the figures of a record rest on, in words; each part of the header describes itself."""

import hashlib
import json
import math

import pandas as pd

from surefoot.certify.smoothing import robust_fraction, robust_images
from surefoot.escape import one_line
from surefoot.evaluation.header import Header, LogPart, SmoothingPart
from surefoot.evaluation.metrics import (
    attacked_right,
    ceiling,
    certified_right,
    cross_check,
)
from surefoot.evaluation.record import Record
from surefoot.wording import NONE, NORM_SIGNS, pairs, percent

GLOSSARY = {
    "clean": "fraction of the images that are right without any change",
    "attacked": "fraction that no attack broke up to the radius: the truth is at most this",
    "certified": "fraction that is proven up to the radius: the truth is at least this",
    "unknown": "between certified and attacked: nobody knows",
    "ceiling": "proven: no classifier can be right and robust on more of exactly these images,"
    " because images of different labels lie close together",
    "limit": "estimated: what the best classifier could reach on data like these",
    "coverage": "fraction that the classifier accepts; on the others it answers uncertain",
    "accepted and right": "accepted with the right label; rejections count as failures here",
    "set size": "mean number of labels in the certified answer; 1 is a single label",
    "radius": "how far an image may be changed, in the norm that is named",
    "p": "probability of so large a difference between equal classifiers (exact McNemar)",
    "VRA": "verified robust accuracy: the label lies in a set that is proven not to change",
    "threshold": "answers with a higher score than this are rejected",
    "kept": "fraction that is not rejected at that threshold",
    "wrong": "fraction of the kept that are wrong without any change",
    "broken": "fraction of the kept that an attack broke: the truth is at least this",
    "not certified": "fraction of the kept that is not proven: the truth is at most this",
    "AUROC": "how well the score tells data of another kind: 50 % by chance, 100 % always",
    "AURC": "area under the risk-coverage curve: small where uncertain answers are the wrong ones",
}
"""The terms of a page."""


def meaning(column: str) -> str:
    """Return what the heading of a column means; "" where it needs no words."""
    name = column.removesuffix(" @ eps").split(",")[-1].strip()
    return GLOSSARY.get(name) or GLOSSARY.get(column.split(",")[0].removesuffix(" @ eps"), "")


def in_plain_words(record: Record) -> str:
    """Return one sentence with what is proven and what is possible at the headline radius.

    Certificates and confirmed attacks of a vote may each be false, with probability alpha: that is
    in both ends.
    """
    header, count = record.header, len(record)
    if isinstance(header.certificate, LogPart):
        return "Read from a smoothing log: with which probability its radii hold is not known."
    right = "right or rejected" if header.guarantee.counts_rejection_as_right else "right"
    ball = f"{NORM_SIGNS[header.norm]} {header.eps_text()}"
    least, low = _at_least(record, certified_right(record.rows, header.eps), _alpha(header))
    settings = header.attack.settings if header.attack else {}
    broken = ~attacked_right(record.rows, header.eps)
    lost, fraction_lost = _at_least(record, broken, settings.get("alpha", 0.0))
    most = count - lost
    if not header.guarantee.counts_rejection_as_right:
        most = min(most, round(ceiling(record, header.eps) * count))
    here = f"Of these {count} images at least {least} and at most {most} stay {right}"
    if header.certificate is None:
        here = f"Of these {count} images at most {most} stay {right}, and none is proven to,"
    down, up = math.floor(1000 * low) / 1000, math.ceil(1000 * (1 - fraction_lost)) / 1000
    return (
        f"{here} under every change within {ball}; of all such images at least {percent(down)} and"
        f" at most {percent(up)} (95 % confidence each)."
    )


def _alpha(header: Header) -> float:
    """Return the error probability of a certificate of one image."""
    return header.certificate.alpha if isinstance(header.certificate, SmoothingPart) else 0.0


def _at_least(record: Record, flags: pd.Series, alpha: float) -> tuple[int, float]:
    """Bound of how many of these images, and of all such images, the flags are true.

    Args:
        record: whose rows they are; equal images count once, for they share their noise.
        flags: one a row, each falsely true with probability alpha at most.
        alpha: that.
    """
    kept = flags.drop(index=list(record.header.data.repeats))
    found, count = int(kept.sum()), len(kept)
    return robust_images(found, count, alpha), robust_fraction(found, count, alpha)


def class_name(header: Header, outcome: int) -> str:
    """Name an outcome: a class, or "uncertain" for the one after the last class."""
    classes = header.data.classes
    if outcome < len(classes):
        return one_line(classes[outcome])
    return "uncertain" if classes and outcome == len(classes) else str(outcome)


def config_hash(header: Header) -> str:
    """Digest what was asked for, settings, guarantee and threat: 12 hexadecimal digits."""
    whole = header.as_json()
    asked = {name: whole[name] for name in ("config", "guarantee", "threat", "radii")}
    text = json.dumps(asked, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def provenance(header: Header) -> str:
    """Write the footer of a figure: name, configuration, versions."""
    known = header.versions
    versions = {name: known[name] for name in ("surefoot", "torch", "python") if name in known}
    return f"{header.name}: config {config_hash(header)}; {pairs(versions)}"


def grounds(record: Record) -> dict[str, str]:
    """Describe what the figures rest on, one entry a topic."""
    header = record.header
    data, ball = header.data, f"{NORM_SIGNS[header.norm]} ball of radius {header.eps_text()}"
    attack = "None: the upper bound is the clean accuracy."
    entries = {
        "Classifier": _classifier(header),
        "Data": f"{data.name}, {len(record)} examples, hash {data.hash or NONE}",
        "Guarantee": _guarantee(record),
        "Threat": f"{ball} ({header.unit()})",
        "Certificate": _certificate(record),
        "Attack": header.attack.describe() if header.attack else attack,
        "Cross-check": cross_check_text(record),
        "Limit": _limit(header),
        "Ceiling": _ceiling(header),
        "Seeds": pairs(header.seeds),
        "Versions": pairs(header.versions),
        "Configuration": f"hash {config_hash(header)}",
    }
    if header.seconds is not None:
        entries["Time"] = f"{header.seconds:.1f} s"
    return entries


def _classifier(header: Header) -> str:
    named = f"{header.model.name}, hash {header.model.hash or NONE}"
    if header.model.classifier == "base":
        return f"{named}. The figures are about this model itself."
    noise, by = "Gaussian noise", header.certificate
    if isinstance(by, SmoothingPart):
        noise = f"Gaussian noise of sigma {by.sigma:g}"
    return f"{named}. The figures are about its vote under {noise}, not about the base model."


def _guarantee(record: Record) -> str:
    guarantee = record.header.guarantee
    one = not (guarantee.set_valued or guarantee.counts_rejection_as_right)
    certain = " and stays certain" if one and not bool(record.rows["accepted"].all()) else ""
    members = [
        "{" + ", ".join(class_name(record.header, label) for label in sorted(group)) + "}"
        for group in guarantee.settings.get("groups", ())
    ]
    groups = f" Groups: {', '.join(members)}." if members else ""
    return f"{guarantee.name}: {guarantee.statement}{certain}, inside the ball.{groups}"


def _certificate(record: Record) -> str:
    header, by = record.header, record.header.certificate
    if by is None:
        return "None: nothing is proven; everything below the attacked curve is unknown."
    text = by.describe()
    if isinstance(by, SmoothingPart):
        text += _population(record, by.alpha)
    if header.norm == "linf" and by.in_l2:
        text += f" The certified radii are ℓ₂ radii divided by √d, d = {header.dimension}."
    return text


def _population(record: Record, alpha: float) -> str:
    """Turn certificates of images, each false with probability alpha, into one about many."""
    flags, count = certified_right(record.rows, record.header.eps), len(record)
    count -= len(record.header.data.repeats)
    if not bool(flags.any()):
        return ""
    here, fraction = _at_least(record, flags, alpha)
    return (
        f" At eps, false certificates included, at least {here} of these {count}"
        f"{'' if count == len(record) else ' different'} images hold, and"
        f" {percent(fraction)} of all such images (confidence 95 % each)."
    )


def cross_check_text(record: Record) -> str:
    """Describe what attacks found inside certified radii, and how far attack and certificate lie
    apart.

    The bracket ratio is (distance of the nearest counterexample found) / (certified radius).
    """
    found = cross_check(record)
    if found is None:
        return "None: it takes an attack and a certificate."
    refuted = "contradiction" if found.refuted == 1 else "contradictions"
    text = f"{found.inside:,} attacks inside certified radii, {found.refuted} {refuted}."
    if found.both == 0:
        return f"{text} No certified example was broken at any radius of the grid."
    return (
        f"{text} Where a certified example was broken ({found.both:,}), the nearest counterexample"
        f" lies at {found.ratio:.3g} times the certified radius in the median, at least"
        f" {found.least:.3g} times."
    )


def _limit(header: Header) -> str:
    if not header.limit:
        return "Not estimated."
    parts = "; ".join(part.describe(header.norm) for part in header.limit)
    return f"ESTIMATE of the best robust accuracy on this data, not a proof. {parts}."


def _ceiling(header: Header) -> str:
    """Describe what is proven about these very rows, for every classifier."""
    if not header.ceiling:
        return "None: not asked for, or a guarantee about sets, which has none."
    about = ""
    if header.guarantee.counts_rejection_as_right:
        about = " and accepted (rows of different labels conflict within the radius, not twice it)"
    parts = "; ".join(part.describe(header.norm) for part in header.ceiling)
    return f"PROVEN for these rows: no classifier is right, robust{about} on more. {parts}."
