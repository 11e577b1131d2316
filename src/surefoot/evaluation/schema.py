"""What the rows of a stored record must look like: raise a clear error instead of trusting a file.

Reports compute with these numbers; a record that was edited, cut short or mixed from two must not
become a figure.
"""

import math
import re
from typing import Any

import pandas as pd
from torch import Tensor

from surefoot.evaluation.header import Header

WHOLE = ("index", "label", "prediction", "set_size", "samples")
FLAGS = ("accepted", "certified_accepted", "clean")
REAL = ("score", "certified", "attacked", "nearest")
TEXT = ("set", "sets", "radii", "attack")
SET = re.compile(r"(\d{1,6}(\|\d{1,6})*)?")


def check_rows(rows: pd.DataFrame, header: Header) -> None:
    """Raise unless the rows are what `record.COLUMNS` says."""
    _demand(header.data.count == len(rows), "data.count", f"{len(rows)}, the rows", header.data)
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


def check_examples(examples: dict[str, Tensor], rows: pd.DataFrame) -> None:
    """Raise unless these are images of rows of the record."""
    _demand(set(examples) == {"index", "images"}, "examples", "index and images", set(examples))
    index, images = examples["index"], examples["images"]
    same = index.ndim == 1 and len(index) == len(images)
    _demand(same, "images", f"as many as index, {tuple(index.shape)}", images.shape)
    _demand(bool(images.isfinite().all()), "images", "finite numbers", "NaN or infinity")
    known = set(rows["index"].tolist())
    strange = [one for one in index.tolist() if one not in known]
    _demand(not strange, "index", "rows of the record", strange[:5])


def _check_counts(rows: pd.DataFrame, header: Header) -> None:
    classes = header.data.classes
    index = rows["index"]
    _column(rows, "index", bool((index >= 0).all() and index.is_unique), "different rows >= 0")
    most = len(classes) - 1 if classes else math.inf
    within = bool(((rows["label"] >= 0) & (rows["label"] <= most)).all())
    _column(rows, "label", within, f"class indices in [0, {most}]")
    _column(rows, "prediction", bool((rows["prediction"] >= -1).all()), "class indices, or -1")
    for name in ("set_size", "samples"):
        _column(rows, name, bool((rows[name] >= 0).all()), "counts >= 0")


def _check_radii(rows: pd.DataFrame, header: Header) -> None:
    certified, attacked = rows["certified"], rows["attacked"]
    if header.certificate is None:
        _column(rows, "certified", bool(certified.isna().all()), "empty: there is no certificate")
    else:
        good = (certified >= 0) & (certified <= header.certificate.largest)
        _column(rows, "certified", bool(good.all()), "radii >= 0, finite for this certificate")
    tested = {0.0, math.inf, *header.radii}
    _column(
        rows, "attacked", set(attacked.tolist()) <= tested, "0, radii of the header, or infinity"
    )
    _column(rows, "nearest", bool((rows["nearest"] >= 0).all()), "distances >= 0")
    zero = bool((attacked[~rows["clean"]] == 0).all())
    _column(rows, "attacked", zero, "0 where `clean` is False")


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
