"""The record: one row an example, one header; every figure and picture is a pure function of it.

Columns of `rows`:
    index: row of the data set.
    label: true label.
    prediction: most likely label (of a selective classifier too).
    accepted: a label wins; False where "uncertain" does, or a tie.
    surely_accepted: that is certain too, jointly with `certified` (a vote is only counted).
    score: how unsure the classifier is, higher = less certain.
    set: the alternative that carries the claim, outcomes joined by "|"; "" if none.
    set_size: its size.
    sets: all alternatives, whether they contain the label or not, joined by ";"; "" where one is
        not available.
    radii: the certified radius of each of `sets`, joined by ";", in the norm of the threat; 0 =
        nothing; "" = no certificate was asked for.
    clean: some alternative that contains the true label holds at the image itself.
    certified: largest radius, in the norm of the threat, to which such an alternative is certified;
        0 = nothing; NaN = no certificate was asked for.
    attacked: smallest radius of the grid at which all such alternatives were broken; 0 where
        `clean` is False, infinite where some stood at every radius.
    nearest: distance of the nearest counterexample found, in the norm of the threat: where the
        attack broke an example, it went back towards the image as far as the claim stayed broken.
        Infinite where nothing was found, or not for all alternatives.
    attack: what broke it; "" if nothing did.
    samples: noise draws of the certificate.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from surefoot.files import write_json, write_whole
from surefoot.types import Sets

SCHEMA = 3
COLUMNS = (
    "index",
    "label",
    "prediction",
    "accepted",
    "surely_accepted",
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
        header: JSON: schema, name, config, threat, guarantee, radii, certificate, limit, versions,
            seeds, hashes, warnings, command.
        witnesses: tensors of the broken examples: `index` `[n]`, `images` and `adversarial`
            `[n, ...]`, `radius` `[n]`, `before` and `after` (shares of the outcomes, `[n, O]`).
    """

    rows: pd.DataFrame
    header: dict[str, Any]
    witnesses: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.rows]
        if missing:
            raise ValueError(f"a record needs the columns {', '.join(missing)}")

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, folder: Path) -> None:
        """Write `record.csv`, `witnesses.safetensors` and `record.json`.

        Without its header a record does not count, so the header goes first and comes last: a kill
        in between leaves no record instead of parts of two.
        """
        (folder / "record.json").unlink(missing_ok=True)
        (folder / "witnesses.safetensors").unlink(missing_ok=True)
        write_whole(folder / "record.csv", self.rows.to_csv(index=False).encode())
        if self.witnesses:
            tensors = {name: value.contiguous() for name, value in self.witnesses.items()}
            write_whole(folder / "witnesses.safetensors", save(tensors))
        write_json(self.header, folder / "record.json")


def read(folder: Path) -> Record:
    """Read a record from the folder it was saved in."""
    try:
        header = json.loads((folder / "record.json").read_text())
        rows = read_rows((folder / "record.csv").read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} holds no record: expected record.csv and record.json, as `surefoot evaluate`"
            f" writes them; missing {Path(error.filename).name}"
        ) from error
    except (json.JSONDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"the record in {folder} is damaged: {error}") from error
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"the record in {folder} has schema {schema}; this version reads {SCHEMA}. Evaluate"
            " again with the command in its header."
        )
    path = folder / "witnesses.safetensors"
    return Record(rows, header, load_file(path) if path.exists() else {})


def read_rows(text: str) -> pd.DataFrame:
    """Parse rows from CSV; numbers come back bit for bit."""
    flags = ("accepted", "surely_accepted", "clean")
    types = dict.fromkeys(("set", "sets", "radii", "attack"), str) | dict.fromkeys(flags, bool)
    return pd.read_csv(
        io.StringIO(text),
        dtype=types,  # pyright: ignore[reportArgumentType]
        keep_default_na=False,
        na_values={"certified": [""], "score": [""]},
    )


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
    """Join the witnesses of several shards."""
    filled = [part for part in parts if part]
    if not filled:
        return {}
    return {name: torch.cat([part[name] for part in filled]) for name in filled[0]}
