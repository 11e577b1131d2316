"""What a stored record must look like: raise a clear error instead of trusting a file.

Reports compute with these numbers; a record that was edited, cut short or mixed from two must not
become a figure.
"""

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
from torch import Tensor

WHOLE = ("index", "label", "prediction", "set_size", "samples")
FLAGS = ("accepted", "certified_accepted", "clean")
REAL = ("score", "certified", "attacked", "nearest")
TEXT = ("set", "sets", "radii", "attack")
SET = re.compile(r"(\d{1,6}(\|\d{1,6})*)?")
NORMS = ("linf", "l2")
MAY_BE_INFINITE = ("lipschitz",)
"""Methods whose certificate may reach any radius: a net that is constant around the image."""
COSTS = ("forwards", "backwards", "seconds", "blind", "found")


def check_header(header: dict[str, Any], count: int) -> None:
    """Raise unless the header of a record of `count` rows has the types that reports rely on."""
    for name, (holds, wanted) in _HEADER.items():
        _demand(name in header and holds(header[name]), name, wanted, header.get(name))
    for name, (holds, wanted) in _IF_THERE.items():
        _demand(name not in header or holds(header[name]), name, wanted, header.get(name))
    threat, radii = header["threat"], header["radii"]
    _demand(header["data"].get("count", count) == count, "data.count", f"{count}, the rows", header)
    _demand(radii == sorted(set(radii)), "radii", "increasing numbers", radii)
    _demand(threat["eps"] in radii, "radii", f"numbers with eps, {threat['eps']}, in them", radii)


def check_rows(rows: pd.DataFrame, header: dict[str, Any]) -> None:
    """Raise unless the rows are what `record.COLUMNS` says, given a header that was checked."""
    for name in WHOLE:
        _column(rows, name, rows[name].dtype.kind == "i", "whole numbers")
    for name in FLAGS:
        _column(rows, name, rows[name].dtype.kind == "b", "True or False")
    for name in REAL:
        _column(rows, name, rows[name].dtype.kind in "if", "numbers")
    for name in TEXT:
        _column(rows, name, all(isinstance(value, str) for value in rows[name]), "text")
    _check_counts(rows, header)
    _check_radii(rows, header)
    columns = (rows[name].tolist() for name in ("set", "sets", "radii", "set_size"))
    for place, (carrier, sets, radii, size) in enumerate(zip(*columns, strict=True)):
        _check_sets(place, carrier, sets, radii, size)


def check_counterexamples(counterexamples: dict[str, Tensor], rows: pd.DataFrame) -> None:
    """Raise unless the counterexamples have one shape and belong to rows of the record."""
    if not counterexamples:
        return
    wanted = ("index", "images", "adversarial", "radius", "before", "after")
    missing = [name for name in wanted if name not in counterexamples]
    _demand(
        not missing, "counterexamples", f"the tensors {', '.join(wanted)}", f"without {missing}"
    )
    index, images = counterexamples["index"], counterexamples["images"]
    count = len(index) if index.ndim == 1 else -1
    for name in wanted:
        value = counterexamples[name]
        _demand(value.ndim > 0 and len(value) == count, name, f"{count} entries", value.shape)
        whole = not value.is_floating_point() and not value.is_complex()
        _demand(whole == (name == "index"), name, "integers for index, else floats", value.dtype)
        _demand(whole or bool(value.isfinite().all()), name, "finite numbers", "NaN or infinity")
    _demand(
        images.ndim > 1 and images.shape == counterexamples["adversarial"].shape,
        "adversarial",
        f"the shape of `images`, {tuple(images.shape)}",
        counterexamples["adversarial"].shape,
    )
    before, after = counterexamples["before"], counterexamples["after"]
    same = before.ndim == 2 and before.shape == after.shape and before.shape[1] > 1
    _demand(same, "after", f"the shape of `before`, {tuple(before.shape)}", after.shape)
    known = set(rows["index"].tolist())
    strange = [one for one in index.tolist() if one not in known]
    _demand(not strange, "index", "rows of the record", strange[:5])


def _check_counts(rows: pd.DataFrame, header: dict[str, Any]) -> None:
    classes = header["data"].get("classes")
    index = rows["index"]
    _column(rows, "index", bool((index >= 0).all() and index.is_unique), "different rows >= 0")
    most = len(classes) - 1 if classes else math.inf
    within = bool(((rows["label"] >= 0) & (rows["label"] <= most)).all())
    _column(rows, "label", within, f"class indices in [0, {most}]")
    _column(rows, "prediction", bool((rows["prediction"] >= -1).all()), "class indices, or -1")
    for name in ("set_size", "samples"):
        _column(rows, name, bool((rows[name] >= 0).all()), "counts >= 0")


def _check_radii(rows: pd.DataFrame, header: dict[str, Any]) -> None:
    certified, attacked = rows["certified"], rows["attacked"]
    certificate = header["certificate"]
    if certificate is None:
        _column(rows, "certified", bool(certified.isna().all()), "empty: there is no certificate")
    else:
        limit = math.inf if certificate["method"] in MAY_BE_INFINITE else sys.float_info.max
        good = (certified >= 0) & (certified <= limit)
        _column(rows, "certified", bool(good.all()), "radii >= 0, finite for this certificate")
    tested = {0.0, math.inf, *map(float, header["radii"])}
    _column(
        rows, "attacked", set(attacked.tolist()) <= tested, "0, radii of the header, or infinity"
    )
    _column(rows, "nearest", bool((rows["nearest"] >= 0).all()), "distances >= 0")
    fallen = bool((attacked[~rows["clean"]] == 0).all())
    _column(rows, "attacked", fallen, "0 where `clean` is False")


def _check_sets(place: int, carrier: str, sets: str, radii: str, size: int) -> None:
    alternatives = sets.split(";")
    for text in (carrier, *alternatives):
        members = (
            [int(member) for member in text.split("|")] if SET.fullmatch(text) and text else []
        )
        good = SET.fullmatch(text) and members == sorted(set(members))
        _demand(good, f"sets, row {place}", 'increasing outcomes as "3|5;7"', text)
    _demand(
        size == (len(carrier.split("|")) if carrier else 0),
        f"set_size, row {place}",
        f"the size of the set {carrier!r}",
        size,
    )
    if radii == "":
        return
    values = [_number(text) for text in radii.split(";")]
    good = len(values) == len(alternatives) and all(value >= 0 for value in values)
    _demand(good, f"radii, row {place}", "a number >= 0 for each of `sets`", radii)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _column(rows: pd.DataFrame, name: str, good: bool, wanted: str) -> None:
    if not good:
        shown = ", ".join(str(value) for value in rows[name].unique()[:5])
        raise ValueError(f"column `{name}` must hold {wanted}; found {shown[:120]}")


def _demand(good: Any, name: str, wanted: str, found: Any) -> None:
    if not good:
        raise ValueError(f"`{name}` must be {wanted}; found {str(found)[:120]}")


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) < sys.float_info.max


def _is_share(value: Any) -> bool:
    """A value with its interval, where what was not known is null."""
    return value is None or (
        isinstance(value, dict)
        and {"value", "low", "high"} <= value.keys()
        and all(part is None or _is_number(part) for part in value.values())
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _is_data(value: Any) -> bool:
    classes = value.get("classes", []) if isinstance(value, dict) else None
    good = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return good and _is_named(value) and isinstance(value.get("count", 0), int)


def _is_guarantee(value: Any) -> bool:
    if not _is_named(value) or not isinstance(value.get("k", 1), int):
        return False
    flags = ("set_valued", "counts_rejection_as_right")
    told = isinstance(value.get("statement"), str)
    if not told or any(not isinstance(value.get(name), bool) for name in flags):
        return False
    groups = value.get("groups", [])
    return isinstance(groups, list) and all(
        isinstance(group, list) and all(type(member) is int for member in group) for group in groups
    )


def _is_threat(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("norm") not in NORMS:
        return False
    eps, box = value.get("eps"), [value.get(end) for end in ("low", "high") if end in value]
    if not all(map(_is_number, [eps, *box])) or value["eps"] < 0:
        return False
    return box == [] or (len(box) == 2 and value["low"] < value["high"])


def _is_grid(value: Any) -> bool:
    radii = isinstance(value, list) and bool(value) and all(map(_is_number, value))
    return radii and all(radius >= 0 for radius in value)


def _is_certificate(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        return False
    if value["method"] != "smoothing":
        return isinstance(value.get("rounding", {}), dict)
    sizes = all(_is_number(value.get(name)) and value[name] > 0 for name in ("sigma", "alpha"))
    return sizes and value["alpha"] < 1 and type(value.get("n_certify")) is int


def _is_attack(value: Any) -> bool:
    if value is None:
        return True
    costs = value.get("costs", {}) if isinstance(value, dict) else None
    if not isinstance(costs, dict) or not isinstance(value.get("name"), str):
        return False
    counts = (value.get(name, 0) for name in (*COSTS[:3], "retried", "missed", "grey_stood"))
    return all(map(_is_number, counts)) and all(
        isinstance(cost, dict) and all(_is_number(cost.get(name)) for name in COSTS)
        for cost in costs.values()
    )


def _is_limit(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and _is_number(entry.get("radius"))
        and _is_share(entry.get("robustness"))
        for entry in value
    )


def _is_ceiling(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(
            isinstance(entry, dict)
            and all(_is_number(entry.get(name)) for name in ("radius", "value", "conflicts"))
            and 0 <= entry["value"] <= 1
            for entry in value
        )
    )


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


Check = tuple[Callable[[Any], bool], str]
_HEADER: dict[str, Check] = {
    "name": (lambda value: isinstance(value, str), "text"),
    "model": (_is_named, "an object with a name"),
    "data": (_is_data, "an object with a name, a count, and a list of class names"),
    "guarantee": (_is_guarantee, "an object with a name, and k or lists of class indices"),
    "threat": (_is_threat, "an object with a norm, a finite eps >= 0, and low < high"),
    "radii": (_is_grid, "a list of finite radii >= 0"),
    "certificate": (_is_certificate, "null, or an object with a method and its settings"),
    "attack": (_is_attack, "null, or an object with a name and costs"),
    "limit": (_is_limit, "a list of estimates, one a radius"),
    "warnings": (_is_lines, "a list of texts"),
}
_IF_THERE: dict[str, Check] = {
    "ceiling": (_is_ceiling, "a list of ceilings in [0, 1], one a radius"),
    "dimension": (lambda value: type(value) is int and value > 0, "the number of pixels"),
    "command": (lambda value: isinstance(value, str), "text"),
    "seconds": (_is_number, "a number"),
    "versions": (lambda value: isinstance(value, dict), "an object"),
    "seeds": (lambda value: isinstance(value, dict), "an object"),
}
