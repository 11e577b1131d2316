"""The record: one row an example, one header; every metric and figure is a pure function of it.

Columns of `rows`:
    index: row of the data set.
    label: true label.
    prediction: most likely label (of a selective classifier too).
    accepted: a label wins; False where "uncertain" does, or a tie.
    certified_accepted: that is certain too, jointly with `certified` (a vote is only counted).
    score: how unsure the classifier is, higher = less certain.
    set: the alternative that is certified, or holds at the image, joined by "|"; "" if none.
    set_size: its size.
    sets: all alternatives, whether they contain the label or not, joined by ";"; "" where one is
        not available.
    radii: the certified radius of each of `sets`, joined by ";", in the norm of the threat; 0 =
        nothing; "" = no certificate was asked for.
    clean: some alternative that contains the true label holds at the image itself.
    certified: largest radius, in the norm of the threat, to which such an alternative is certified;
        0 = nothing; NaN = no certificate was asked for.
    attacked: smallest radius of the grid at which all such alternatives were broken; 0 where
        `clean` is False, infinite where some were broken at no radius.
    nearest: distance of the nearest counterexample found, in the norm of the threat: where the
        attack broke an example, it went back towards the image as far as it stayed broken.
        Infinite where nothing was found, or not for all alternatives.
    attack: what broke it; "" if nothing did.
    samples: noise draws of the certificate.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from surefoot.evaluation.header import SCHEMA, Header
from surefoot.evaluation.schema import TEXT, check_counterexamples, check_examples, check_rows
from surefoot.files import read_json, write_json, write_whole
from surefoot.typed import from_json
from surefoot.types import Sets

COLUMNS = (
    "index",
    "label",
    "prediction",
    "accepted",
    "certified_accepted",
    "score",
    "set",
    "set_size",
    "sets",
    "radii",
    "clean",
    "certified",
    "attacked",
    "nearest",
    "attack",
    "samples",
)


@dataclass(frozen=True)
class Record:
    """What an evaluation writes.

    Args:
        rows: one row an example, columns as in the module's docstring.
        header: everything else.
        counterexamples: tensors of the broken examples: `index` `[n]`, `images` and `adversarial`
            `[n, ...]`, `radius` `[n]`, `before` and `after` (fractions of the outcomes, `[n, O]`),
            `outcomes` `[n, O]` of the classifier at `adversarial`.
        examples: `index` `[n]` and `images` `[n, ...]` of some rows that are certified as sets.
    """

    rows: pd.DataFrame
    header: Header
    counterexamples: dict[str, Tensor] = field(default_factory=dict)
    examples: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.rows]
        if missing:
            raise ValueError(f"a record needs the columns {', '.join(missing)}")

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        header = self.header
        return (
            f"Record({header.name}: {header.guarantee.title} on {len(self)} rows of"
            f" {header.data.name}, {header.norm} {header.eps_text()})"
        )

    @property
    def table(self) -> pd.DataFrame:
        """Return the figures at each radius: one row a metric and radius, with its interval."""
        from surefoot.evaluation.metrics import table

        return table(self)

    def save(self, folder: Path | str) -> None:
        """Write `record.csv`, the tensors as safetensors, and `record.json`.

        Without its header a record does not count, so the header goes first and comes last: a kill
        in between leaves no record instead of parts of two.
        """
        folder, content = Path(folder), self.rows.to_csv(index=False, lineterminator="\n").encode()
        (folder / "record.json").unlink(missing_ok=True)
        write_whole(folder / "record.csv", content)
        for name in ("counterexamples", "examples"):
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
            if tensors := getattr(self, name):
                whole = {key: value.contiguous() for key, value in tensors.items()}
                write_whole(folder / f"{name}.safetensors", save(whole))
        header = replace(self.header, rows_hash=rows_hash(content))
        write_json(header.as_json(), folder / "record.json")


def read(folder: Path | str) -> Record:
    """Read a record from the folder it was saved in.

    Raises:
        ValueError: there is none, or it is damaged, was changed after it was written, or comes from
            another version; names the file.
    """
    folder = Path(folder)
    stored, content = _header(folder), _content(folder)
    if stored.get("rows_hash") != rows_hash(content):
        raise ValueError(
            f"{folder / 'record.csv'} does not fit the hash of its rows in record.json: one of them"
            " was changed or damaged after the evaluation. Evaluate again with the same command, or"
            " restore both files."
        )
    try:
        rows = read_rows(content.decode())
        missing = [name for name in COLUMNS if name not in rows]
        if missing:
            raise ValueError(f"the columns {', '.join(missing)} are missing")
        header = parsed(stored)
        check_rows(rows, header)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the record in {folder} is damaged: {error}") from error
    return Record(
        rows,
        header,
        _tensors(folder / "counterexamples.safetensors", rows, check_counterexamples),
        _tensors(folder / "examples.safetensors", rows, check_examples),
    )


def parsed(stored: dict[str, Any]) -> Header:
    """Read a header from JSON; messages name an entry as it stands in the file."""
    return from_json(Header, stored, "")


def _tensors(
    path: Path, rows: pd.DataFrame, check: Callable[[dict[str, Tensor], pd.DataFrame], None]
) -> dict[str, Tensor]:
    """Read tensors of these rows; none if there is no file."""
    if not path.exists():
        return {}
    try:
        tensors = load_file(path)
        check(tensors, rows)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"the {path.stem} in {path} are damaged: {error}") from error
    return tensors


def rows_hash(content: bytes) -> str:
    """Hash the rows as they stand in their file."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _header(folder: Path) -> dict[str, Any]:
    try:
        header = read_json(folder / "record.json")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(_missing(folder, "record.json")) from error
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"the record in {folder} has schema {str(schema)[:40]}; this version reads {SCHEMA}."
            " Evaluate again with the command in its header."
        )
    return header


def _content(folder: Path) -> bytes:
    try:
        return (folder / "record.csv").read_bytes()
    except FileNotFoundError as error:
        raise ValueError(_missing(folder, "record.csv")) from error


def _missing(folder: Path, name: str) -> str:
    return (
        f"{folder} holds no record: expected record.csv and record.json, as `surefoot evaluate`"
        f" writes them; missing {name}"
    )


def read_rows(text: str) -> pd.DataFrame:
    """Parse rows from CSV; numbers come back bit for bit, which not every pandas does by itself."""
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    return frame.assign(
        **{name: _parsed(frame[name]) for name in frame.columns if name not in TEXT}
    )


def _parsed(column: pd.Series) -> Any:
    """Turn text cells into flags, whole numbers or numbers (empty: NaN), if all of them are."""
    cells = column.tolist()
    if set(cells) <= {"True", "False"}:
        return [cell == "True" for cell in cells]
    for kind, values in ((np.int64, map(int, cells)), (float, (float(c or "nan") for c in cells))):
        with suppress(ValueError, OverflowError):
            return np.fromiter(values, kind, len(cells))
    return column


def join_set(members: Tensor) -> str:
    """Write a set of outcomes `[O]` as text: "3|5"."""
    return "|".join(str(member) for member in members.nonzero().flatten().tolist())


def join_sets(sets: Sets) -> list[str]:
    """Write the alternatives of each row, `[B, A, O]`, as text: "3;3|5"; see `split_sets`."""
    return [";".join(join_set(members) for members in row) for row in sets]


def join_radii(radii: Tensor | None, count: int) -> list[str]:
    """Write the radii of each row, `[B, A]`, as text that comes back bit for bit."""
    if radii is None:
        return [""] * count
    return [";".join(map(repr, row)) for row in radii.double().tolist()]


def split_sets(texts: Sequence[str]) -> list[list[list[int]]]:
    """Read what `join_sets` wrote: for each row, for each alternative, its members."""
    rows = [[part.split("|") if part else [] for part in text.split(";")] for text in texts]
    return [[[int(member) for member in part] for part in row] for row in rows]


def split_radii(texts: Sequence[str]) -> list[list[float]]:
    """Read what `join_radii` wrote."""
    return [[float(part) for part in text.split(";")] if text else [] for text in texts]


def as_sequence(records: Record | Sequence[Record]) -> Sequence[Record]:
    """Take one record for a sequence of one."""
    return [records] if isinstance(records, Record) else records


def concatenate(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join the tensors of several parts."""
    filled = [part for part in parts if part]
    if not filled:
        return {}
    return {name: torch.cat([part[name] for part in filled]) for name in filled[0]}
