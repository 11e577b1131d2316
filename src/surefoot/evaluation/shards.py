"""One evaluation in n shards, on machines that need not know of each other, and their merge.

Shard i of n takes every n-th chunk of the rows, from the i-th on, and every n-th radius of limit
and ceiling. Where n leaves chunks their usual size, the merged record has the bits of one run; in
smaller chunks only the rounding of smaller batches may differ.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from surefoot.evaluation import metrics, warnings
from surefoot.evaluation.data_limits import never_rising, unbeaten
from surefoot.evaluation.header import (
    AttackPart,
    CeilingPart,
    Header,
    LimitPart,
    ShardPart,
    Work,
    listed,
)
from surefoot.evaluation.identity import identity
from surefoot.evaluation.record import Record, concatenate, read
from surefoot.evaluation.store import OUTCOMES, keep_outcomes, same_outcomes

SAME = (
    "model",
    "data",
    "guarantee",
    "threat",
    "radii",
    "config",
    "dimension",
    "asked",
    "searched",
    "seeds",
)
"""Parts of a header in which shards of one run agree."""


class Shard(NamedTuple):
    """Which shard: number 1 to `of`."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """Read "3/64".

        Raises:
            ValueError: another form, or no number from 1 to n.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ValueError(
                f"--shard takes I/N, I from 1 to N, as 3/64 for the third of 64; found {text!r}"
            )
        return cls(int(number), int(of))

    def folder(self, run: Path) -> Path:
        """Return the folder of the shard within that of the run."""
        return run / f"shard-{self.number}-of-{self.of}"

    def chunks(self, count: int, size: int, first: int = 0) -> list[slice]:
        """Return the rows of this shard, in chunks: see `chunks_of_all`."""
        return self.chunks_of_all(count, size, first)[self.number - 1 :: self.of]

    def chunks_of_all(self, count: int, size: int, first: int = 0) -> list[slice]:
        """Return the rows of all shards in chunks of at most `size`.

        Args:
            count: rows of the run.
            size: of a chunk, at most.
            first: size of the first one, where rows are slow: it soon shows what all will take; 0:
                as the others.

        Raises:
            ValueError: there are more shards than rows.
        """
        if self.of > count:
            raise ValueError(
                f"--shard {self.number}/{self.of} of {count} rows: take at most {count} shards"
            )
        size = min(size, count // self.of)
        ends = [*range(first if 0 < first < size else size, count, size), count]
        return [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]


WHOLE = Shard(1, 1)


def sharded(header: Header, shard: Shard, chunks: Sequence[slice]) -> Header:
    """Return the header of a shard, from that of the whole run."""
    part = ShardPart((shard.number,), shard.of, header.data.count, header.identity, header.name)
    rows = np.concatenate([np.arange(chunk.start, chunk.stop) for chunk in chunks])
    repeats = tuple(np.flatnonzero(np.isin(rows, header.data.repeats)).tolist())
    return replace(
        _of_part(header, part), data=replace(header.data, count=len(rows), repeats=repeats)
    )


def concluded(record: Record, doubts: Sequence[str], seconds: float) -> Record:
    """Return the record with all that follows from its rows: warnings, notes, headline."""
    part = record.header.shard
    found = [*doubts, *warnings.of_record(record)]
    found += [] if part is None else [part.warning(len(record))]
    header = replace(
        record.header,
        warnings=tuple(found),
        notes=tuple(warnings.notes_of(record)),
        seconds=round(seconds, 3),
        headline=metrics.headline(record),
    )
    return replace(record, header=header)


def hash_of_right(right: torch.Tensor) -> str:
    """Hash which rows are right."""
    return hashlib.blake2b(right.cpu().numpy().astype(bool).tobytes(), digest_size=8).hexdigest()


def shard_folders(run: Path) -> list[Path]:
    """List the folders of shards within that of a run, in their order."""
    found = [path for path in run.glob("shard-*-of-*") if path.is_dir()]
    return sorted(found, key=lambda path: [int(word) for word in path.name.split("-")[1::2]])


def merge(folders: Sequence[Path], *, partial: bool = False) -> Record:
    """Merge shards into the record of their run, or of a part of it.

    Args:
        folders: of the shards.
        partial: merge what is there where shards are missing; the record is called partial.

    Raises:
        ValueError: shards that are missing, not finished, there twice, damaged, or of several runs;
            names them.
    """
    unfinished = [path for path in folders if not (path / "record.json").exists()]
    there = [path for path in folders if path not in unfinished]
    if not there:
        raise ValueError(f"no shard is finished: {_named(unfinished)} hold no record")
    records = [read(path) for path in there]
    parts = _parts(there, records)
    _check_one_run(there, records, parts)
    held = [(path, part.numbers) for path, part in zip(there, parts, strict=True)]
    command = records[0].header.command
    check_complete(held, parts[0].of, unfinished, command, partial=partial)
    rows = pd.concat([record.rows for record in records]).sort_values("index", kind="stable")
    rows = rows.reset_index(drop=True)
    numbers = tuple(sorted(number for part in parts for number in part.numbers))
    if len(numbers) == parts[0].of and rows["index"].tolist() != list(range(parts[0].rows)):
        raise ValueError(f"the rows of {_named(there)} are not those of the run, each once")
    header = _header(records, parts, numbers, rows)
    counterexamples = concatenate([record.counterexamples for record in records])
    if counterexamples:
        order = counterexamples["index"].argsort()
        counterexamples = {name: value[order] for name, value in counterexamples.items()}
    doubts = list(dict.fromkeys(text for part in parts for text in part.warnings))
    seconds = sum(record.header.seconds or 0.0 for record in records)
    examples = concatenate([record.examples for record in records])
    merged = concluded(Record(rows, header, counterexamples, examples), doubts, seconds)
    left_out = _left_out(merged)
    return replace(merged, header=replace(merged.header, notes=(*merged.header.notes, *left_out)))


def save_merged(record: Record, folder: Path, shards: Sequence[Path]) -> None:
    """Save a merged record where the command without --shard finds it as its own."""
    there = next(path for path in shards if (path / OUTCOMES).exists())
    keep_outcomes(folder, _outcomes(there))
    record.save(folder)


def _parts(folders: Sequence[Path], records: Sequence[Record]) -> list[ShardPart]:
    found = [record.header.shard for record in records]
    whole = [folder for folder, part in zip(folders, found, strict=True) if part is None]
    if whole:
        raise ValueError(f"{_named(whole)}: the record of a whole run, where a shard is expected")
    return [part for part in found if part is not None]


def _check_one_run(
    folders: Sequence[Path], records: Sequence[Record], parts: Sequence[ShardPart]
) -> None:
    """Raise unless all are shards of one run, by identity and by the outcomes of its rows."""
    first, outcomes = records[0].header, _outcomes(folders[0])
    for folder, record, part in zip(folders, records, parts, strict=True):
        if part.of != parts[0].of:
            differ = f"one of {parts[0].of} shards there, of {part.of} here"
        elif part.run != parts[0].run:
            differ = ", ".join(_differing(first, record.header)) or "settings"
        elif _outcomes(folder) and not same_outcomes(folder, outcomes):
            differ = "the outcomes of the model"
        else:
            continue
        raise ValueError(
            f"{folders[0]} and {folder} are not shards of one run; they differ in: {differ}. Give"
            " shards of the same command, in folders of their own"
        )


def _outcomes(folder: Path) -> dict[str, torch.Tensor]:
    """Read the outcomes of all rows that a shard has seen."""
    try:
        return load_file(folder / OUTCOMES)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{folder / OUTCOMES} cannot be read ({error}), and shows that the shards had one"
            " model. Copy the whole folder of a shard, or run it again"
        ) from error


def _differing(one: Header, other: Header) -> list[str]:
    """Name the parts of two headers that differ; count and repeats are those of each shard."""
    alike = replace(other, data=replace(other.data, count=one.data.count, repeats=one.data.repeats))
    first, second = asdict(one), asdict(alike)
    return [name for name in SAME if first[name] != second[name]]


def check_complete(
    held: Sequence[tuple[Path, tuple[int, ...]]],
    of: int,
    unfinished: Sequence[Path],
    command: str,
    *,
    partial: bool = False,
) -> None:
    """Raise where a shard is there twice, or, unless `partial`, is missing.

    Args:
        held: folders, and the numbers of the shards in each.
        of: how many shards there are.
        unfinished: folders of shards that were begun.
        command: of one of the shards.
        partial: some may be missing.
    """
    known: dict[int, Path] = {}
    for folder, numbers in held:
        for number in numbers:
            if number in known:
                raise ValueError(
                    f"shard {number} of {of} is there twice: {known[number]} and {folder}. Give one"
                    " of them"
                )
            known[number] = folder
    missing = [number for number in range(1, of + 1) if number not in known]
    if missing and not partial:
        begun = f" ({_named(unfinished)}: begun, without a result)" if unfinished else ""
        again = with_shard(command, Shard(missing[0], of)) if command else "the same command"
        raise ValueError(
            f"of {of} shards {listed(missing)} missing{begun}. Run them ({again}), or give"
            " --partial for a record of what is there"
        )


def _header(
    records: Sequence[Record],
    parts: Sequence[ShardPart],
    numbers: tuple[int, ...],
    rows: pd.DataFrame,
) -> Header:
    """Return the header of the merged rows, before anything follows from them."""
    first, run = records[0].header, parts[0]
    repeated = [record.rows["index"].iloc[list(record.header.data.repeats)] for record in records]
    repeats = np.flatnonzero(rows["index"].isin(pd.concat(repeated))).tolist()
    header = replace(
        first,
        data=replace(first.data, count=len(rows), repeats=tuple(repeats)),
        attack=_attack(records),
        versions=_versions(records),
        command=with_shard(first.command),
    )
    limit = sorted((one for part in parts for one in part.limit), key=_radius)
    ceiling = tuple(sorted((one for part in parts for one in part.ceiling), key=_radius))
    if len(numbers) < run.of:
        return _of_part(header, replace(run, numbers=numbers, limit=tuple(limit), ceiling=ceiling))
    right = hash_of_right(torch.from_numpy(rows["clean"].to_numpy().copy()))
    return replace(
        header,
        name=run.name,
        identity=run.run,
        shard=None,
        limit=unbeaten(never_rising(limit), rows) if run.right == right else (),
        ceiling=ceiling,
    )


def _of_part(header: Header, part: ShardPart) -> Header:
    """Return the header with a name and an identity of the part."""
    own = identity({"run": part.run, "numbers": part.numbers, "of": part.of})
    return replace(header, name=f"{part.name} ({part.label()})", identity=own, shard=part)


def _attack(records: Sequence[Record]) -> AttackPart | None:
    """Sum the work of the attacks; the shard that ran most of them describes them."""
    attacks = [record.header.attack for record in records]
    done = [attack for attack in attacks if attack is not None and attack.work is not None]
    if not done:
        return attacks[0]
    work = sum((attack.work for attack in done if attack.work), Work())
    return replace(max(done, key=lambda attack: len((attack.work or work).costs)), work=work)


def _versions(records: Sequence[Record]) -> dict[str, str]:
    """Join the versions of all shards, each once."""
    names = dict.fromkeys(name for record in records for name in record.header.versions)
    return {
        name: ", ".join(dict.fromkeys(one.header.versions.get(name, "?") for one in records))
        for name in names
    }


def _radius(part: LimitPart | CeilingPart) -> float:
    return part.radius


def _left_out(record: Record) -> list[str]:
    """Note what one run would have and a merge cannot: the estimated limit of a vote."""
    header, right = record.header, record.rows["clean"]
    about_labels = header.guarantee.conflict_distance is not None
    if header.shard or header.limit or not (header.asked.get("limits") and about_labels):
        return []
    if header.model.classifier == "base" or bool(right.all()) or not bool(right.any()):
        return []
    return [
        "merged from shards, of which none knew the errors of all rows: the limit is not estimated;"
        f" surefoot limit --risk {1 - right.mean():.4g} does (docs/limits.md)"
    ]


def with_shard(command: str, shard: Shard | None = None) -> str:
    """Return a command line with another --shard, or with none."""
    words, kept = shlex.split(command), []
    for place, word in enumerate(words):
        if word != "--shard" and (place == 0 or words[place - 1] != "--shard"):
            kept += [] if word.startswith("--shard=") else [word]
    kept += [] if shard is None else ["--shard", f"{shard.number}/{shard.of}"]
    return shlex.join(kept)


def _named(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
