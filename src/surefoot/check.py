"""Recompute from a record what can be recomputed, with numpy alone: `python check.py RUN ...`.

For readers who trust neither our code nor our machine: no torch, no surefoot, one file. Checked are
the hash of the rows, the counts and metrics of the headline, the order certified <= attacked <=
clean, sets and radii of each row, the largest radius that a smoothing certificate
can have, that a relaxation certifies radii of its grid alone, and every counterexample: inside the
ball and the box, of a row that was broken there. Not checked: the net itself; whoever has it can
run it on the stored images, or its certificate again (surefoot check RUN --model NET).
"""

import csv
import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np

KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
SMALLEST_ROOM = 1e-6
"""What float32 may add to a distance; relative."""


def check(folder: Path) -> list[str]:
    """Return what is wrong with the record in a folder; [] if nothing is."""
    header = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    content = (folder / "record.csv").read_bytes()
    rows = list(csv.DictReader(content.decode().splitlines()))
    found = list(_whole(header, content, len(rows)))
    if not rows:
        return [*found, "no rows"]
    for row in rows:
        found += [f"row {row['index']}: {text}" for text in _row(row, header)]
    found += _metrics(header, rows)
    found += _counterexamples(folder / "counterexamples.safetensors", header, rows)
    return found


def _whole(header: dict, content: bytes, count: int) -> Iterator[str]:
    if hashlib.blake2b(content, digest_size=16).hexdigest() != header["rows_hash"]:
        yield "the hash of the rows is another: record.csv or record.json was changed"
    if header["data"]["count"] != count or not count:
        yield f"{count} rows, where the header counts {header['data']['count']}"
    radii = header["radii"]
    if radii != sorted(set(radii)) or header["threat"]["eps"] not in radii:
        yield f"the radii {radii} do not increase, or miss eps"


def _row(row: dict[str, str], header: dict) -> Iterator[str]:
    certified, attacked = _number(row["certified"]), float(row["attacked"])
    nearest, clean = float(row["nearest"]), row["clean"] == "True"
    if attacked not in (0.0, math.inf, *header["radii"]):
        yield f"broken at {attacked}, which is no radius of the grid"
    if not clean and (attacked != 0 or certified > 0):
        yield "wrong at the image itself, but certified or not broken there"
    if certified < 0:
        yield f"a negative certified radius, {certified:g}"
    if certified > 0 and certified >= (found := min(attacked, nearest)) and found < math.inf:
        yield f"certified to {certified:g}, with a counterexample at {min(attacked, nearest):g}"
    if header["certificate"] is None and not math.isnan(certified):
        yield "a certified radius without a certificate"
    if certified > (most := _largest(header)) * (1 + 1e-9):
        yield f"certified to {certified:g}; {most:g} is the most that so many samples can show"
    decided = _decided(header)
    if decided and certified > 0 and certified not in decided:
        yield f"certified to {certified:g}, which the relaxation did not decide"
    sets = [text.split("|") for text in row["sets"].split(";")]
    own = [_number(text) for text in row["radii"].split(";")] if row["radii"] else []
    if own and len(own) != len(sets):
        yield f"{len(sets)} sets with {len(own)} radii"
    rejected = header["guarantee"]["counts_rejection_as_right"] and row["accepted"] == "False"
    if clean and not rejected and not any(row["label"] in one for one in sets):
        yield "right at the image, with a label that is in none of its sets"
    if certified > 0 and not own:
        yield f"certified to {certified:g}, without the radii of its sets"
    right = [radius for one, radius in zip(sets, own, strict=False) if row["label"] in one]
    if certified > 0 and right and certified > max(right):
        yield f"certified to {certified:g}; its sets with the label only to {max(right):g}"


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _largest(header: dict) -> float:
    """Return the largest radius, in the norm of the threat, that smoothing can certify."""
    by = header["certificate"]
    if by is None or by["method"] != "smoothing":
        return math.inf
    # All n samples agree: p_A >= alpha^(1/n), radius sigma Phi^-1(p_A); more is impossible.
    least = by["alpha"] ** (1 / by["n_certify"])
    radius = by["sigma"] * NormalDist().inv_cdf(least)
    norm, dimension = header["threat"]["norm"], header["dimension"]
    return radius / math.sqrt(dimension) if norm == "linf" else radius


def _decided(header: dict) -> list[float]:
    """Return the radii that a relaxation decided; [] for other certificates, and for a search."""
    by = header["certificate"]
    return by["decided"] if by is not None and by["method"] == "relaxation" else []


def _metrics(header: dict, rows: list[dict[str, str]]) -> Iterator[str]:
    """Recompute the headline, and hold certified <= attacked <= clean at every radius."""
    clean = sum(row["clean"] == "True" for row in rows)
    before = {"certified": clean, "attacked": clean}
    for radius in header["radii"]:
        counts = {"certified": _certified(rows, radius), "attacked": _attacked(rows, radius)}
        if not counts["certified"] <= counts["attacked"] <= clean:
            yield f"at radius {radius:g}: not {counts['certified']} certified <= attacked <= clean"
        for name, count in counts.items():
            if count > before[name]:
                yield f"{name} rises from {before[name]} to {count} at radius {radius:g}"
        before = counts
    eps, stated = header["threat"]["eps"], header["headline"]
    accepted = sum(row["accepted"] == "True" for row in rows)
    own = {"clean": clean, "attacked": _attacked(rows, eps), "certified": _certified(rows, eps)}
    if "clean" not in stated or "coverage" not in stated:
        yield "no headline"
    proven = [one["value"] for one in header["ceiling"] if math.isclose(one["radius"], eps)]
    if stated.get("ceiling") is not None and [stated["ceiling"]] != proven:
        yield f"the headline has the ceiling {stated['ceiling']}, the header {proven}"
    for name, count in (own | {"coverage": accepted}).items():
        value = stated.get(name)
        if value is not None and not math.isclose(value, count / len(rows), abs_tol=1e-12):
            yield f"{name} is {count} of {len(rows)}, the header says {value:.6g}"


def _attacked(rows: list[dict[str, str]], radius: float) -> int:
    return sum(row["clean"] == "True" and float(row["attacked"]) > radius for row in rows)


def _certified(rows: list[dict[str, str]], radius: float) -> int:
    values = [_number(row["certified"]) for row in rows if row["clean"] == "True"]
    return sum(value > 0 and value >= radius for value in values)


def _counterexamples(path: Path, header: dict, rows: list[dict[str, str]]) -> Iterator[str]:
    broken = {row["index"]: float(row["attacked"]) for row in rows}
    expected = {index for index, radius in broken.items() if 0 < radius < math.inf}
    if not path.exists():
        if expected:
            yield f"{len(expected)} broken rows, and no counterexamples"
        return
    kept, threat = tensors(path), header["threat"]
    indices = [str(index) for index in kept["index"].tolist()]
    if set(indices) != expected:
        yield "the counterexamples are not those of the broken rows"
    change = kept["adversarial"].astype(float) - kept["images"].astype(float)
    flat = change.reshape(len(change), -1)
    sizes = np.abs(flat).max(1) if threat["norm"] == "linf" else np.sqrt((flat**2).sum(1))
    pixels = kept["adversarial"].reshape(len(flat), -1)
    for place, index in enumerate(indices):
        radius = broken.get(index, math.nan)
        if not sizes[place] <= radius * (1 + SMALLEST_ROOM):
            yield f"row {index}: its counterexample lies {sizes[place]:g} away, outside {radius:g}"
        if not (
            pixels[place].min() >= float(threat["low"])
            and pixels[place].max() <= float(threat["high"])
        ):
            yield f"row {index}: its counterexample leaves the box"


def tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    head, body, found = json.loads(content[8 : 8 + length]), content[8 + length :], {}
    for name, about in head.items():
        if name != "__metadata__":
            first, end = about["data_offsets"]
            values = np.frombuffer(body[first:end], KINDS[about["dtype"]])
            found[name] = values.reshape(about["shape"])
    return found


def main(folders: list[str]) -> int:
    """Check folders; print what is wrong; return the exit status."""
    wrong = 0
    for folder in folders:
        try:
            found = check(Path(folder))
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError, struct.error) as error:
            found = [f"it cannot be read: {type(error).__name__}: {error}"]
        for text in found:
            print(f"{folder}: {text}")
        print(f"{folder}: {'every check holds' if not found else f'{len(found)} checks fail'}")
        wrong += bool(found)
    return 1 if wrong or not folders else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
