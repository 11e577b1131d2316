"""Finished parts of an evaluation, so that a killed run goes on where it stood."""

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors.torch import load_file, save
from torch import Tensor

from surefoot.evaluation.record import concatenate, read_rows
from surefoot.evaluation.stored import identity, keep_outcomes, same_outcomes
from surefoot.files import write_whole


class Shard(NamedTuple):
    """Some rows of a record, their witnesses, and what they cost."""

    rows: pd.DataFrame
    witnesses: dict[str, Tensor]
    ledger: dict[str, Any]


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
        """Say whether the shard that begins at row `first` is complete."""
        return self.folder is not None and (self.folder / f"{first}.json").exists()

    def write(self, first: int, shard: Shard) -> None:
        """Keep a shard."""
        if self.folder is None:
            self.memory[first] = shard
            return
        tensors = {name: value.contiguous() for name, value in shard.witnesses.items()}
        write_whole(self.folder / f"{first}.csv", shard.rows.to_csv(index=False).encode())
        write_whole(self.folder / f"{first}.safetensors", save(tensors))
        # Last, because it says that the shard is complete.
        write_whole(self.folder / f"{first}.json", json.dumps(shard.ledger).encode())

    def read(self, first: int) -> Shard:
        """Give a shard back."""
        if self.folder is None:
            return self.memory[first]
        rows = read_rows((self.folder / f"{first}.csv").read_text())
        ledger = json.loads((self.folder / f"{first}.json").read_text())
        return Shard(rows, load_file(self.folder / f"{first}.safetensors"), ledger)

    def collect(self, places: range) -> Shard:
        """Join all shards; costs are added, what the certificate rests on is taken from one."""
        parts = [self.read(first) for first in places]
        ledger = {"certificate": parts[0].ledger["certificate"]}
        for name in parts[0].ledger:
            if name not in ("certificate", "costs"):
                ledger[name] = sum(part.ledger[name] for part in parts)
        ledger["costs"] = add_costs(part.ledger["costs"] for part in parts)
        rows = pd.concat([part.rows for part in parts], ignore_index=True)
        return Shard(rows, concatenate([part.witnesses for part in parts]), ledger)

    def clear(self) -> None:
        """Remove the store; the record has everything."""
        if self.folder is not None:
            shutil.rmtree(self.folder)
            with suppress(OSError):  # another evaluation may have shards there
                self.folder.parent.rmdir()
