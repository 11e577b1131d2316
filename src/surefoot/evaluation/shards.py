"""Finished parts of an evaluation, so that a killed run goes on where it stood."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from surefoot.evaluation.record import concatenate, read_rows, rows_hash
from surefoot.evaluation.stored import identity, keep_outcomes, same_outcomes
from surefoot.files import read_json, write_json, write_whole
from surefoot.progress import note


class Shard(NamedTuple):
    """Some rows of a record, their counterexamples, and what they cost."""

    rows: pd.DataFrame
    counterexamples: dict[str, Tensor]
    summary: dict[str, Any]


Costs = dict[str, dict[str, Any]]
"""What each attack took and gave: name -> the fields of `attacks.counted.Cost`."""


def add_costs(parts: Iterable[Costs]) -> Costs:
    """Add up, attack by attack."""
    total: Costs = {}
    for part in parts:
        for name, cost in part.items():
            sums = total.setdefault(name, dict.fromkeys(cost, 0))
            for what, amount in cost.items():
                sums[what] += amount
    return total


class Shards:
    """A store of shards: on disk if there is a folder, else in memory.

    Args:
        folder: of the run, or None.
        header: what decides the rows; another header is another store.
        outcomes: of all rows, by name of the data: a store that holds others is emptied.
        owner: whether this process may empty it; the others must wait for it.
    """

    def __init__(
        self,
        folder: Path | None,
        header: dict[str, Any],
        outcomes: dict[str, Tensor],
        *,
        owner: bool = True,
    ) -> None:
        self.folder = None if folder is None else folder / "shards" / identity(header)
        self.memory: dict[int, Shard] = {}
        if self.folder is not None and owner and not same_outcomes(self.folder, outcomes):
            shutil.rmtree(self.folder, ignore_errors=True)
            keep_outcomes(self.folder, outcomes)

    def done(self, first: int) -> bool:
        """Return whether the shard that begins at row `first` is complete.

        A damaged one is named and removed, so that its rows are done again.
        """
        if self.folder is None or not (self.folder / f"{first}.json").exists():
            return False
        try:
            self.read(first)
        except (OSError, ValueError, SafetensorError) as error:
            note(f"{self.folder / str(first)} is damaged ({error}): its rows are done again")
            (self.folder / f"{first}.json").unlink()
            return False
        return True

    def write(self, first: int, shard: Shard) -> None:
        """Keep a shard."""
        if self.folder is None:
            self.memory[first] = shard
            return
        rows = shard.rows.to_csv(index=False).encode()
        tensors = save({name: value.contiguous() for name, value in shard.counterexamples.items()})
        write_whole(self.folder / f"{first}.csv", rows)
        write_whole(self.folder / f"{first}.safetensors", tensors)
        # Last, because it says that the shard is complete.
        whole = {"summary": shard.summary, "hash": rows_hash(rows + tensors)}
        write_json(whole, self.folder / f"{first}.json")

    def read(self, first: int) -> Shard:
        """Return a shard.

        Raises:
            ValueError: its files are not those that were written.
        """
        if self.folder is None:
            return self.memory[first]
        whole = read_json(self.folder / f"{first}.json")
        rows = (self.folder / f"{first}.csv").read_bytes()
        tensors = (self.folder / f"{first}.safetensors").read_bytes()
        if not isinstance(whole, dict) or whole.get("hash") != rows_hash(rows + tensors):
            raise ValueError("its files do not fit their hash")
        return Shard(read_rows(rows.decode()), load(tensors), whole["summary"])

    def collect(self, places: range) -> Shard:
        """Join all shards; costs are added, what the certificate rests on is taken from one."""
        parts = [self.read(first) for first in places]
        summary = {"certificate": parts[0].summary["certificate"]}
        for name in parts[0].summary:
            if name not in ("certificate", "costs"):
                summary[name] = sum(part.summary[name] for part in parts)
        summary["costs"] = add_costs(part.summary["costs"] for part in parts)
        rows = pd.concat([part.rows for part in parts], ignore_index=True)
        return Shard(rows, concatenate([part.counterexamples for part in parts]), summary)

    def clear(self) -> None:
        """Remove the store; the record has everything."""
        if self.folder is not None:
            shutil.rmtree(self.folder)
            with suppress(OSError):  # another evaluation may have shards there
                self.folder.parent.rmdir()
