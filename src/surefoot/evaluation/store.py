"""The resumable store: finished parts of an evaluation, so that a killed run goes on.

A store belongs to one question (`identity.identity`) about one model on given rows: it holds the
outcomes of all rows too, compared to a tolerance, because another machine may go on with the work.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from surefoot.evaluation.record import read_rows, rows_hash
from surefoot.files import read_json, write_json, write_whole
from surefoot.models.border import close
from surefoot.progress import note, track

TOLERANCE = 1e-4
"""Relative to the outcomes: by how much those of one model may differ between machines."""
OUTCOMES = "outcomes.safetensors"
WORTH_TELLING = 20.0
"""Seconds of work whose length is estimated from the first part."""


class Chunk(NamedTuple):
    """Some rows, their tensors, and in JSON what else they brought."""

    rows: pd.DataFrame
    tensors: dict[str, Tensor] = {}  # noqa: RUF012  (never written to)
    summary: dict[str, Any] = {}  # noqa: RUF012


class Store:
    """A store of chunks: on disk if there is a folder, else in memory.

    Args:
        folder: of the run, or None.
        identity: of the question; another one is another store.
        outcomes: of all rows, by name of the data: a store that holds others is emptied.
        owner: whether this process may empty it; the others must wait for it.
    """

    def __init__(
        self,
        folder: Path | None,
        identity: str,
        outcomes: dict[str, Tensor],
        *,
        owner: bool = True,
    ) -> None:
        self.folder = None if folder is None else folder / "chunks" / identity
        self.memory: dict[int, Chunk] = {}
        if self.folder is not None and owner and not same_outcomes(self.folder, outcomes):
            shutil.rmtree(self.folder, ignore_errors=True)
            keep_outcomes(self.folder, outcomes)

    def fill(
        self,
        places: Sequence[int],
        compute: Callable[[int], Chunk],
        title: str,
        sizes: dict[int, int] | None = None,
    ) -> None:
        """Compute the chunks at these places that are not there yet, and tell what it may take.

        Args:
            places: of the chunks.
            compute: makes one.
            title: of the progress.
            sizes: rows of each chunk; None where all are alike.
        """
        left = [place for place in places if not self.done(place)]
        rows = [(sizes or {}).get(place, 1) for place in left]
        began = time.monotonic()
        for number, place in enumerate(track(left, title, len(left))):
            self.write(place, compute(place))
            spent = time.monotonic() - began
            expected = spent * sum(rows) / max(rows[0], 1)
            if number == 0 and len(left) > 1 and expected > WORTH_TELLING:
                first = "row" if rows[0] == 1 else f"{rows[0]} rows"
                part = f"the first {first} of {sum(rows)}" if sizes else "the first part"
                whole = timedelta(seconds=round(expected))
                note(f"{title}: {part} took {spent:.1f} s: about {whole} in all")

    def done(self, place: int) -> bool:
        """Return whether a chunk is complete; a damaged one is named and removed."""
        if self.folder is None or not (self.folder / f"{place}.json").exists():
            return False
        try:
            self.read(place)
        except (OSError, ValueError, SafetensorError) as error:
            note(f"{self.folder / str(place)} is damaged ({error}): its rows are done again")
            (self.folder / f"{place}.json").unlink()
            return False
        return True

    def write(self, place: int, chunk: Chunk) -> None:
        """Keep a chunk."""
        if self.folder is None:
            self.memory[place] = chunk
            return
        rows = chunk.rows.to_csv(index=False, lineterminator="\n").encode()
        tensors = save({name: value.contiguous() for name, value in chunk.tensors.items()})
        write_whole(self.folder / f"{place}.csv", rows)
        write_whole(self.folder / f"{place}.safetensors", tensors)
        # Last, because it says that the chunk is complete.
        whole = {"summary": chunk.summary, "hash": rows_hash(rows + tensors)}
        write_json(whole, self.folder / f"{place}.json")

    def read(self, place: int) -> Chunk:
        """Return a chunk.

        Raises:
            ValueError: its files are not those that were written.
        """
        if self.folder is None:
            return self.memory[place]
        whole = read_json(self.folder / f"{place}.json")
        rows = (self.folder / f"{place}.csv").read_bytes()
        tensors = (self.folder / f"{place}.safetensors").read_bytes()
        if not isinstance(whole, dict) or whole.get("hash") != rows_hash(rows + tensors):
            raise ValueError("its files do not fit their hash")
        return Chunk(read_rows(rows.decode()), load(tensors), whole["summary"])

    def clear(self) -> None:
        """Remove the store; what was made of it has everything."""
        if self.folder is not None:
            shutil.rmtree(self.folder)
            with suppress(OSError):  # another evaluation may have chunks there
                self.folder.parent.rmdir()


def keep_outcomes(folder: Path, outcomes: dict[str, Tensor]) -> None:
    """Write outcomes, by name of the data, into a folder."""
    tensors = {name: value.contiguous() for name, value in outcomes.items()}
    write_whole(folder / OUTCOMES, save(tensors))


def same_outcomes(folder: Path, outcomes: dict[str, Tensor]) -> bool:
    """Return whether the folder holds these outcomes, to `TOLERANCE`."""
    try:
        stored = load_file(folder / OUTCOMES)
    except (FileNotFoundError, SafetensorError):
        return False
    return stored.keys() == outcomes.keys() and all(
        _alike(stored[name], value) for name, value in outcomes.items()
    )


def _alike(stored: Tensor, now: Tensor) -> bool:
    same_shape = stored.shape == now.shape
    return same_shape and close(stored.double(), now.double(), TOLERANCE)
