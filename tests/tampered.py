"""Make records, run folders and counterexample files that were tampered with: one fault each.

Where rows are changed, their hash is made anew, so that it is the schema that must notice.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from surefoot.evaluation.record import rows_hash

Change = Callable[[Path], object]


def rehash(folder: Path) -> None:
    header = json.loads((folder / "record.json").read_text())
    header["rows_hash"] = rows_hash((folder / "record.csv").read_bytes())
    (folder / "record.json").write_text(json.dumps(header))


def rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """Change the table as text cells."""

    def apply(folder: Path) -> None:
        frame = pd.read_csv(folder / "record.csv", dtype=str, keep_default_na=False)
        change(frame).to_csv(folder / "record.csv", index=False)
        rehash(folder)

    return apply


def cell(column: str, text: str, row: int = 1) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = text
        return frame

    return rows(change)


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        found = json.loads((folder / "record.json").read_text())
        change(found)
        (folder / "record.json").write_text(json.dumps(found))

    return apply


def put(path: str, value: Any) -> Change:
    """Replace one entry of the header, by its place: "threat.eps"."""

    def change(found: dict[str, Any]) -> None:
        *above, last = path.split(".")
        for name in above:
            found = found[name]
        found[last] = value

    return header(change)


def content(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def counterexamples(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "counterexamples.safetensors")
        change(tensors)
        save_file(tensors, folder / "counterexamples.safetensors")

    return apply


def counterexample(name: str, value: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return counterexamples(
        lambda tensors: tensors.update({name: value(tensors[name]).contiguous()})
    )


def folder_instead(folder: Path) -> None:
    (folder / "counterexamples.safetensors").unlink()
    (folder / "counterexamples.safetensors").mkdir()


def drop(name: str) -> Change:
    return rows(lambda frame: frame.drop(columns=[name]))


def untouched_hash(change: Callable[[str], str]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "record.csv"
        path.write_text(change(path.read_text()))

    return apply


HASH = "does not fit the hash of its rows"
RECORDS: dict[str, tuple[Change, str]] = {
    "a digit of the rows": (untouched_hash(lambda text: text.replace("0.", "0.1", 1)), HASH),
    "a space behind the rows": (untouched_hash(lambda text: text + " "), HASH),
    "the last row": (untouched_hash(lambda text: text[: text[:-1].rindex("\n") + 1]), HASH),
    "rows cut short": (cut("record.csv"), HASH),
    "rows empty": (content("record.csv", b""), HASH),
    "no hash": (header(lambda found: found.pop("rows_hash")), HASH),
    "hash a list": (put("rows_hash", []), HASH),
    "rows twice": (rows(lambda frame: pd.concat([frame, frame])), "data.count|different rows"),
    "one row twice": (rows(lambda f: pd.concat([f.iloc[:-1], f.iloc[:1]])), "different rows"),
    "a row less": (rows(lambda frame: frame.iloc[1:]), "data.count"),
    "no rows": (rows(lambda frame: frame.iloc[:0]), "damaged"),
    "no column index": (drop("index"), "columns index are missing"),
    "no column certified": (drop("certified"), "columns certified are missing"),
    "no column sets": (drop("sets"), "columns sets are missing"),
    "index negative": (cell("index", "-1"), "different rows >= 0"),
    "index not whole": (cell("index", "1.5"), "`index` must hold whole numbers"),
    "index huge": (cell("index", "9" * 40), "damaged"),
    "label 99": (cell("label", "99"), r"class indices in \[0, 9\]; found"),
    "label negative": (cell("label", "-1"), "class indices"),
    "label text": (cell("label", "cat"), "`label` must hold whole numbers"),
    "label empty": (cell("label", ""), "damaged"),
    "prediction -2": (cell("prediction", "-2"), "`prediction`"),
    "prediction text": (cell("prediction", "x"), "`prediction`"),
    "clean maybe": (cell("clean", "maybe"), "damaged"),
    "accepted empty": (cell("accepted", ""), "damaged"),
    "certified infinite": (cell("certified", "inf"), "finite for this certificate"),
    "certified negative": (cell("certified", "-0.5"), "`certified` must hold radii >= 0"),
    "certified empty": (cell("certified", ""), "`certified` must hold radii >= 0"),
    "certified text": (cell("certified", "much"), "`certified` must hold numbers"),
    "certified without certificate": (put("certificate", None), "there is no certificate"),
    "attacked negative": (cell("attacked", "-1"), "`attacked` must hold 0, radii"),
    "attacked between the radii": (cell("attacked", "0.123"), "`attacked` must hold 0, radii"),
    "attacked NaN": (cell("attacked", "nan"), "`attacked`"),
    "not clean and not broken": (
        rows(lambda frame: frame.assign(clean="False", attacked="inf")),
        "0 where `clean` is False",
    ),
    "nearest negative": (cell("nearest", "-1.0"), "`nearest` must hold distances"),
    "nearest NaN": (cell("nearest", "nan"), "`nearest`"),
    "score text": (cell("score", "high"), "`score` must hold numbers"),
    "samples negative": (cell("samples", "-3"), "`samples` must hold counts"),
    "set size negative": (cell("set_size", "-3"), "`set_size` must hold counts"),
    "set size of another set": (cell("set_size", "7"), "set_size, row 1"),
    "set of words": (cell("set", "cat"), "sets, row 1"),
    "set twice the same": (cell("set", "3|3"), "sets, row 1"),
    "set falling": (cell("sets", "5|3"), "sets, row 1"),
    "set negative": (cell("sets", "-3"), "sets, row 1"),
    "set with a gap": (cell("sets", "3||5"), "sets, row 1"),
    "set of a number without end": (cell("sets", "9" * 5000), "sets, row 1"),
    "radii NaN": (cell("radii", "nan"), "radii, row 1"),
    "radii words": (cell("radii", "far"), "radii, row 1"),
    "radii negative": (cell("radii", "-1.0"), "radii, row 1"),
    "radii too many": (cell("radii", "0.1;0.1;0.1;0.1"), "radii, row 1"),
    "rows not UTF-8": (
        lambda folder: (content("record.csv", b"\xff\xfe")(folder), rehash(folder)),
        "damaged",
    ),
    "rows with a wild quote": (
        lambda folder: (content("record.csv", b'a,b\n"1,2\n')(folder), rehash(folder)),
        "damaged",
    ),
    "header cut short": (cut("record.json"), "not valid JSON"),
    "header empty": (content("record.json", b""), "not valid JSON"),
    "header a list": (content("record.json", b"[]"), "schema None"),
    "header not UTF-8": (content("record.json", b"\xff"), "not valid JSON"),
    "header nested": (content("record.json", b'{"a":' * 100_000), "nested too deeply"),
    "no header": (lambda folder: (folder / "record.json").unlink(), "missing record.json"),
    "no rows file": (lambda folder: (folder / "record.csv").unlink(), "missing record.csv"),
    "an old schema": (put("schema", 4), "has schema 4; this version reads"),
    "schema text": (put("schema", "5"), "has schema 5; this version"),
    "eps NaN": (put("threat.eps", math.nan), "`threat"),
    "eps negative": (put("threat.eps", -1.0), "`threat"),
    "eps text": (put("threat.eps", "8/255"), "`threat"),
    "eps not in the grid": (put("threat.eps", 0.15), "with eps, 0.15, in them"),
    "norm unknown": (put("threat.norm", "l1"), "`threat"),
    "box turned": (put("threat.low", 2.0), "`threat"),
    "no threat": (header(lambda found: found.pop("threat")), "`threat"),
    "radii a number": (put("radii", 0.2), "`radii"),
    "radii empty": (put("radii", []), "`radii"),
    "radii infinite": (put("radii", [0.1, math.inf]), "`radii"),
    "radii falling": (put("radii", [0.2, 0.1]), "`radii"),
    "name a list": (put("name", ["net"]), "`name"),
    "name null": (put("name", None), "`name"),
    "classes a number": (put("data.classes", 10), "`data"),
    "classes of numbers": (put("data.classes", list(range(10))), "`data"),
    "fewer classes than labels": (put("data.classes", ["a", "b"]), r"class indices in \[0, 1\]"),
    "count of another record": (put("data.count", 31), "`data.count` must be 30"),
    "guarantee a text": (put("guarantee", "Local"), "`guarantee"),
    "guarantee without name": (put("guarantee", {}), "`guarantee"),
    "k a text": (put("guarantee.settings", {"k": "2"}), "`guarantee"),
    "certificate a text": (put("certificate", "lipschitz"), "`certificate"),
    "certificate without method": (put("certificate", {}), "`certificate"),
    "smoothing without sigma": (put("certificate", {"method": "smoothing"}), "`certificate"),
    "attack a text": (put("attack", "apgd"), "`attack"),
    "costs a list": (put("attack.work.costs", []), "`attack"),
    "costs of words": (put("attack.work.costs", {"apgd": {"found": "many"}}), "`attack"),
    "limit a number": (put("limit", 3), "`limit"),
    "limit without radius": (put("limit", [{}]), "`limit"),
    "ceiling above 1": (
        put("ceiling", [{"radius": 0.1, "value": 1.5, "conflicts": 0}]),
        "`ceiling",
    ),
    "warnings a text": (put("warnings", "none"), "`warnings"),
    "warnings of numbers": (put("warnings", [1]), "`warnings"),
    "dimension a text": (put("dimension", "64"), "`dimension"),
    "seconds a text": (put("seconds", "fast"), "`seconds"),
    "counterexamples cut short": (cut("counterexamples.safetensors"), "counterexamples in"),
    "counterexamples empty": (content("counterexamples.safetensors", b""), "counterexamples in"),
    "counterexamples of a pickle": (
        content("counterexamples.safetensors", b"\x80\x04K\x01."),
        "counterexamples in",
    ),
    "counterexamples a folder": (folder_instead, "counterexamples in"),
    "no images": (counterexamples(lambda tensors: tensors.pop("images")), r"without \['images'\]"),
    "one image less": (counterexample("images", lambda value: value[1:]), "`images` must be"),
    "images of another size": (
        counterexample("images", lambda value: value[..., 1:]),
        "`adversarial` must be the shape",
    ),
    "images NaN": (counterexample("images", lambda value: value * math.nan), "finite numbers"),
    "images integers": (counterexample("images", lambda value: value.long()), "integers for index"),
    "index of floats": (counterexample("index", lambda value: value.float()), "integers for index"),
    "index of no row": (counterexample("index", lambda value: value + 1000), "rows of the record"),
    "index a matrix": (counterexample("index", lambda value: value[:, None]), "entries"),
    "radius a scalar": (counterexample("radius", lambda value: value[0]), "`radius` must be"),
    "before of other outcomes": (
        counterexample("before", lambda value: value[:, 1:]),
        "`after` must be",
    ),
}
