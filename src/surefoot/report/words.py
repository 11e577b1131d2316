"""The words of a report: how shares, radii, guarantees and methods read; one formatter each."""

import hashlib
import json
import math
from typing import Any

from surefoot.certify.smoothing import robust_fraction, robust_images
from surefoot.escape import one_line
from surefoot.evaluation.metrics import certified_right, cross_check
from surefoot.evaluation.record import Record
from surefoot.stats import Interval

NONE = "-"
NORMS = {"l2": "ℓ₂", "linf": "\u2113∞"}


def percent(value: float) -> str:
    """Write a fraction.

    >>> percent(0.932)
    '93.2 %'
    """
    return f"{100 * value:.1f} %"


def with_interval(fraction: Interval | None) -> str:
    """Write a fraction with its interval, the ends rounded outwards; `-` for None.

    >>> with_interval(Interval(0.9321, 0.9016, 0.9551))
    '93.2 % [90.1, 95.6]'
    """
    if fraction is None:
        return NONE
    low, high = math.floor(1000 * fraction.low) / 10, math.ceil(1000 * fraction.high) / 10
    return f"{percent(fraction.value)} [{low:.1f}, {high:.1f}]"


def to_interval(numbers: dict[str, float] | None) -> Interval | None:
    """Read an interval of the header; None where a bound is missing."""
    if not numbers or any(numbers.get(end) is None for end in ("value", "low", "high")):
        return None
    return Interval(numbers["value"], numbers["low"], numbers["high"])


def radius_text(radius: float, norm: str) -> str:
    """Write a radius; whole multiples of 1/255 in the linf norm as such.

    >>> radius_text(8 / 255, "linf"), radius_text(0.25, "l2")
    ('8/255', '0.25')
    """
    levels = radius * 255
    if norm == "linf" and 0.5 < levels < 1e4 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{radius:.4g}"


def norm_name(record: Record) -> str:
    """Name the norm of the threat with its sign."""
    return NORMS[record.header["threat"]["norm"]]


def unit(record: Record) -> str:
    """Name the norm and the unit of the radii."""
    threat = record.header["threat"]
    low, high = threat.get("low"), threat.get("high")
    pixels = (
        "pixel units" if low is None or high is None else f"pixel values in [{low:g}, {high:g}]"
    )
    return f"{norm_name(record)}, {pixels}"


def claim(record: Record) -> str:
    """Name the guarantee and the threat in one cell: `TopK(2), ℓ₂ ≤ 0.5`."""
    guarantee, threat = record.header["guarantee"], record.header["threat"]
    k = f"({guarantee['k']})" if "k" in guarantee else ""
    eps = radius_text(threat["eps"], threat["norm"])
    return f"{guarantee['name']}{k}, {norm_name(record)} ≤ {eps}"


def class_name(record: Record, outcome: int) -> str:
    """Name an outcome: a class, or "uncertain" for the one after the last class."""
    classes = record.header["data"].get("classes") or []
    if outcome < len(classes):
        return one_line(classes[outcome])
    return "uncertain" if classes and outcome == len(classes) else str(outcome)


def config_hash(record: Record) -> str:
    """Digest what was asked for, settings, guarantee and threat: 12 hexadecimal digits."""
    asked = {name: record.header.get(name) for name in ("config", "guarantee", "threat", "radii")}
    text = json.dumps(asked, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def pairs(values: dict[str, Any] | None) -> str:
    """Write a small mapping: `torch 2.13.0, numpy 2.3`."""
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items()) or NONE


def provenance(record: Record) -> str:
    """Write the footer of a picture: name, configuration, versions."""
    known = record.header.get("versions") or {}
    versions = pairs(
        {name: known[name] for name in ("surefoot", "torch", "python") if name in known}
    )
    return f"{record.header['name']}: config {config_hash(record)}; {versions}"


def grounds(record: Record) -> dict[str, str]:
    """Say in words what the figures rest on, one entry a topic."""
    header = record.header
    data = header["data"]
    entries = {
        "Classifier": _classifier(record),
        "Data": f"{data['name']}, {len(record)} examples, hash {data.get('hash', NONE)}",
        "Guarantee": _guarantee(record),
        "Threat": f"{norm_name(record)} ball of radius {_eps(record)} ({unit(record)})",
        "Certificate": _certificate(record),
        "Attack": _attack(header.get("attack")),
        "Cross-check": cross_check_text(record),
        "Limit": _limit(header.get("limit") or [], header["threat"]["norm"]),
        "Ceiling": _ceiling(record),
        "Seeds": pairs(header.get("seeds")),
        "Versions": pairs(header.get("versions")),
        "Configuration": f"hash {config_hash(record)}",
    }
    if header.get("seconds") is not None:
        entries["Time"] = f"{header['seconds']:.1f} s"
    return entries


def _eps(record: Record) -> str:
    threat = record.header["threat"]
    return radius_text(threat["eps"], threat["norm"])


def _classifier(record: Record) -> str:
    model = record.header["model"]
    named = f"{model['name']}, hash {model.get('hash', NONE)}"
    if model.get("classifier") != "vote":
        return f"{named}. The figures are about this model itself."
    sigma = (record.header.get("certificate") or {}).get("sigma")
    noise = "Gaussian noise" if sigma is None else f"Gaussian noise of sigma {sigma:g}"
    return f"{named}. The figures are about its vote under {noise}, not about the base model."


def _guarantee(record: Record) -> str:
    guarantee = record.header["guarantee"]
    name = guarantee["name"]
    one = not (guarantee["set_valued"] or guarantee["counts_rejection_as_right"])
    certain = one and not bool(record.rows["accepted"].all())
    members = [
        "{" + ", ".join(class_name(record, label) for label in sorted(group)) + "}"
        for group in guarantee.get("groups", [])
    ]
    groups = f" Groups: {', '.join(members)}." if members else ""
    words = guarantee["statement"] + (" and stays certain" if certain else "")
    return f"{name}: {words}, inside the ball.{groups}"


def _certificate(record: Record) -> str:
    certificate = record.header.get("certificate")
    if certificate is None:
        return "None: nothing is proven; everything below the attacked curve is unknown."
    if certificate["method"] == "lipschitz":
        text = "Lipschitz bounds of the network; holds with certainty."
    elif certificate["method"] == "smoothing":
        text = _smoothing(certificate) + _population(record, certificate["alpha"])
    else:
        text = f"{pairs(certificate)}."
    if record.header["threat"]["norm"] != "linf":
        return text
    dimension = record.header.get("dimension", "d")
    return f"{text} The certified radii are ℓ₂ radii divided by √d, d = {dimension}."


def _population(record: Record, alpha: float) -> str:
    """Turn claims about single images, each false with probability alpha, into one about many."""
    eps = record.header["threat"]["eps"]
    # Equal images share their noise, so a false claim would count as often as its image.
    rows = record.rows.drop(index=record.header["data"].get("repeats", []))
    certified, count = int(certified_right(rows, eps).sum()), len(rows)
    if certified == 0:
        return ""
    here = robust_images(certified, count, alpha)
    fraction = robust_fraction(certified, count, alpha)
    return (
        f" At eps, false certificates included, at least {here} of these {count}"
        f"{'' if count == len(record) else ' different'} images hold, and"
        f" {percent(fraction)} of all such images (confidence 95 % each)."
    )


def _procedure(certificate: dict[str, Any]) -> str:
    """Describe what is unlike the usual: rule, test, noise."""
    text = ""
    if certificate.get("rule") == "majority":
        text += " A label is answered only with more than half of the mass."
    if certificate.get("tv_error"):
        error = certificate["tv_error"]
        text += f" Noise in whole steps of the grid; its error, {error:.1g}, is in every bound."
    elif "tv_error" in certificate:
        text += (
            " Noise in floating point, taken as Gaussian: how far rounding moves its distribution"
            " is not known; for 8-bit images --levels 255 proves a bound."
        )
    return text


def _smoothing(certificate: dict[str, Any]) -> str:
    draws = f"{certificate.get('n_select', NONE)} + {certificate.get('n_certify', NONE)}"
    if certificate.get("decided"):
        draws = f"{draws} at most, until the radii of the grid are decided,"
    text = (
        f"Randomized smoothing, sigma {certificate['sigma']:g}, {draws} draws an example "
        f"(selection + certification). The certificate of each example fails with probability at "
        f"most alpha = {certificate['alpha']:g}."
    )
    text += _procedure(certificate)
    budget = certificate.get("error_budget")
    return f"{text} Error budget: {str(budget).rstrip('.')}." if budget else text


def _attack(attack: dict[str, Any] | None) -> str:
    if not attack:
        return "None: the upper bound is the clean accuracy."
    details = [f"{attack['steps']} steps"] if attack.get("steps") is not None else []
    details += [f"{attack[key]:,} {key}" for key in ("forwards", "backwards") if key in attack]
    details += [f"{attack['seconds']:.1f} s"] if attack.get("seconds") is not None else []
    if skipped := attack.get("skipped_certified"):
        details += [f"{skipped:,} times skipped where the certificate reached the radius"]
    if retried := attack.get("retried"):
        details += [f"{attack['missed']} of {retried} fallen examples missed on another try"]
    if claims := attack.get("grey"):
        details += [f"{attack['grey_stood']} of {claims} claims missed that fail at plain grey"]
    details += [f"seed {attack['seed']}"] if attack.get("seed") is not None else []
    return ", ".join([str(attack["name"]), *details]) + ". An upper bound on robust accuracy."


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
        return f"{text} No certified example fell at any radius of the grid."
    return (
        f"{text} Where a certified example fell ({found.both:,}), the nearest counterexample lies"
        f" at {found.ratio:.3g} times the certified radius in the median, at least"
        f" {found.least:.3g} times."
    )


def _limit(limit: list[dict[str, Any]], norm: str) -> str:
    if not limit:
        return "Not estimated."
    entries = "; ".join(_limit_entry(entry, norm) for entry in limit)
    return f"ESTIMATE of the best robust accuracy on this data, not a proof. {entries}."


def _limit_entry(entry: dict[str, Any], norm: str) -> str:
    robustness = limit_text(entry)
    demanded = entry.get("demanded_risk")
    risk = "" if demanded is None else f" at risk {percent(demanded)}"
    gamma = f", gamma {entry['gamma']:g}" if entry.get("gamma") is not None else ""
    return f"radius {radius_text(entry['radius'], norm)}: {robustness}{risk}{gamma}"


def _ceiling(record: Record) -> str:
    """Describe what is proven about these very rows, for every classifier."""
    entries = record.header.get("ceiling") or []
    if not entries:
        return "None: not asked for, or a guarantee about sets, which has none."
    about = ""
    if record.header["guarantee"]["counts_rejection_as_right"]:
        about = " and accepted (rows of different labels conflict within the radius, not twice it)"
    text = f"PROVEN for these rows: no classifier is right, robust{about} on more."
    found = "; ".join(_ceiling_entry(entry, record) for entry in entries)
    return f"{text} {found}."


def _ceiling_entry(entry: dict[str, Any], record: Record) -> str:
    radius = radius_text(entry["radius"], record.header["threat"]["norm"])
    kind = "" if entry["exact"] else ", a bound"
    text = f"radius {radius}: {percent(entry['value'])} ({entry['conflicts']:,} conflicts{kind})"
    if entry.get("agreement") is None:
        return text
    return f"{text}, expected agreement with an annotator at most {percent(entry['agreement'])}"


def limit_text(entry: dict[str, Any] | None) -> str:
    """Write an estimated limit, always with its flag; `-` for None."""
    if entry is None:
        return NONE
    robustness = to_interval(entry.get("robustness"))
    if not entry.get("feasible", True) or robustness is None:
        return "infeasible"
    flag = "estimate" if entry.get("valid") else "estimate, not valid"
    return f"{with_interval(robustness)} ({flag})"
