"""What `surefoot report` is given: records, logs, and shards that become one record."""

from collections.abc import Sequence
from pathlib import Path

from surefoot.cli.say import say
from surefoot.evaluation.limit_tasks import NAME, merge_limits
from surefoot.evaluation.record import Record, read
from surefoot.evaluation.shards import merge, save_merged, shard_folders
from surefoot.evaluation.smoothing_log import read_log
from surefoot.files import write_json


def opened(paths: Sequence[Path], beside: Path, *, partial: bool) -> dict[Path, Record]:
    """Return the records by the folder or file that holds them; shards are merged first.

    Args:
        paths: as they were given.
        beside: folder of the record that shards are merged to which were given one by one.
        partial: merge what is there where shards are missing.
    """
    alone = [path for path in paths if _is_shard(path)]
    found: dict[Path, Record] = {}
    for path in paths:
        if path.is_file():
            found[path] = read_log(path)
        elif path in alone:
            _merge(alone if path == alone[0] else [], beside, found, partial=partial)
        elif shards := shard_folders(path):
            _merge(shards, path, found, partial=partial)
        else:
            found[path] = read(path)
    return found


def _is_shard(path: Path) -> bool:
    """Return whether a folder is called as that of a shard."""
    return path.is_dir() and path.resolve() in shard_folders(path.resolve().parent)


def _merge(
    shards: Sequence[Path], folder: Path, found: dict[Path, Record], *, partial: bool
) -> None:
    """Merge shards into a folder: a record, which is added to those found, or a limit."""
    if not shards:
        return
    if any((path / NAME).exists() for path in shards):
        if partial:
            raise ValueError("a limit is not merged in parts: leave --partial out")
        write_json(merge_limits(shards), folder / NAME)
        say(f"limit: {folder / NAME}, merged from {len(shards)} shards")
        return
    record = merge(shards, partial=partial)
    save_merged(record, folder, shards)
    say(f"record: {folder}, merged from {len(shards)} shards")
    found[folder] = record
