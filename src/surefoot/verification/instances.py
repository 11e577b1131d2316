"""Lists of instances, as verification competitions have them: one row as each is decided.

A run that was stopped or killed goes on where it was: the table is replaced whole after each
instance, and rows that are there are not decided again.
"""

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from surefoot.files import locked, write_whole
from surefoot.progress import note, reach
from surefoot.verification.verify import Verdict

COLUMNS = ("net", "spec", "answer", "by", "parts", "seconds", "error")
RESULTS = "verdicts.csv"
LARGEST_LIST = 2**24
"""Bytes of a list of instances."""


class Instance(NamedTuple):
    """One network and one specification.

    Args:
        net: path of the ONNX file, as it stands in the list.
        spec: path of the VNN-LIB file, ditto.
        seconds: of the list; None: it says none.
    """

    net: str
    spec: str
    seconds: float | None


def read_instances(path: Path) -> list[Instance]:
    """Read a list: net, specification, seconds; with a header the columns are found by name.

    Names of columns are net or onnx, spec or vnnlib, and timeout, timeout_s or seconds.

    Raises:
        ValueError: it is no such list; names the line.
    """
    if not path.is_file():
        raise ValueError(f"there is no list of instances {path}")
    content = path.read_bytes()
    if len(content) > LARGEST_LIST:
        raise ValueError(f"{path} holds more than {LARGEST_LIST:,} bytes: that is no list")
    try:
        lines = [one for one in csv.reader(io.StringIO(content.decode())) if any(one)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error})") from error
    places, first = {"net": 0, "spec": 1, "seconds": 2}, 0
    if lines and (named := _header(lines[0])) is not None:
        places, first = named, 1
    found = [_instance(path, line, place, places) for place, line in enumerate(lines)][first:]
    if not found:
        raise ValueError(f"{path} lists no instance: expected lines NET.onnx,SPEC.vnnlib,SECONDS")
    return found


def _header(line: list[str]) -> dict[str, int] | None:
    """Return the places of the columns, if a line names them."""
    names = {
        "net": ("net", "onnx"),
        "spec": ("spec", "vnnlib"),
        "seconds": ("timeout", "timeout_s", "seconds"),
    }
    words = [word.strip().lower() for word in line]
    found = {
        name: words.index(word) for name, known in names.items() for word in known if word in words
    }
    return found if {"net", "spec"} <= found.keys() else None


def _instance(path: Path, line: list[str], place: int, places: dict[str, int]) -> Instance:
    fields = {name: line[at].strip() for name, at in places.items() if at < len(line)}
    net, spec, seconds = (fields.get(name, "") for name in ("net", "spec", "seconds"))
    if not net or not spec:
        raise ValueError(f"{path}, line {place + 1}: expected NET.onnx,SPEC.vnnlib,SECONDS")
    try:
        limit = float(seconds) if seconds else None
    except ValueError:
        limit = None if place == 0 else -1.0  # the first line may be a header of other names
    if limit is not None and not 0 < limit < float("inf"):
        raise ValueError(f"{path}, line {place + 1}: {seconds!r} are no seconds above 0")
    return Instance(net, spec, limit)


def decide_all(
    instances: list[Instance], folder: Path, decide: Callable[[Instance], Verdict]
) -> list[dict[str, str]]:
    """Decide instances one by one, and return all rows of the table.

    Args:
        instances: in the order in which they are decided.
        folder: receives `verdicts.csv`, a row an instance; those that are there are kept.
        decide: decides one; a ValueError becomes the error of its row, with the answer "error".
    """
    path = folder / RESULTS
    with locked(folder):
        rows = _stored(path)
        for place, one in enumerate(instances):
            if (one.net, one.spec) in rows:
                continue
            try:
                row = _row(one, decide(one))
            except ValueError as error:
                row = dict.fromkeys(COLUMNS, "") | {"net": one.net, "spec": one.spec}
                row |= {"answer": "error", "error": str(error).replace("\n", " ")}
            rows[one.net, one.spec] = row
            write_whole(path, _table(rows.values()))
            reach(len(rows), len(instances), "instances")
            note(f"{place + 1} of {len(instances)}: {one.net} {one.spec}: {row['answer']}")
    return [rows[one.net, one.spec] for one in instances]


def _row(one: Instance, found: Verdict) -> dict[str, str]:
    row = {"net": one.net, "spec": one.spec, "answer": found.answer, "by": found.by}
    return row | {"parts": str(found.parts), "seconds": f"{found.seconds:.2f}", "error": ""}


def _table(rows: Iterable[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _stored(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of a run before; those with an error are decided again."""
    if not path.exists():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return {(row["net"], row["spec"]): row for row in rows if row["answer"] != "error"}
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise ValueError(f"{path} is no table of verdicts; choose another --folder") from error
