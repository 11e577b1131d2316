"""Files that are written all or nothing, in folders that one run has for itself.

A kill leaves the old content, never half of the new; what a killed run held is free again.
"""

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.escape import cell

if TYPE_CHECKING:
    import pandas as pd


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once; its folder is made if missing.

    Raises:
        OSError: the file cannot be written (disk full, no permission); names it, and nothing of
            the new content is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}. What stood there is unchanged"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_json(content: Any, path: Path) -> None:
    """Replace a JSON file at once."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def write_csv(frame: "pd.DataFrame", path: Path) -> None:
    """Replace a CSV file at once; no text in it is a formula to a spreadsheet."""
    write_whole(path, frame.map(cell).to_csv(index=False, lineterminator="\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: it cannot be read, is no JSON, or is nested too deeply; names the file.
    """
    content = path.read_bytes()
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be read; the file is damaged") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the file is damaged") from error


LOCK = ".lock"
FAR = 1 << 30
"""Place of the byte that is locked on Windows, where nobody else could read it."""


@contextmanager
def locked(
    folder: Path | None, *, owner: bool = True, scratch: tuple[str, ...] = ()
) -> Iterator[None]:
    """Keep a folder for this run while the context lasts; the folder is made if missing.

    The system frees it when the process ends, however it ends. A run within a run of the same
    process shares it. A run that ends before it kept anything leaves no folder behind.

    Args:
        folder: of the run; None: there is nothing to keep.
        owner: False for the other processes of one launch, which share what the first one holds.
        scratch: names of files that are nothing to keep on their own.

    Raises:
        ValueError: another process works in the folder; names it.
    """
    if folder is None or not owner:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    held = _hold(folder / LOCK)
    try:
        yield
    finally:
        if held is not None:
            _release(folder / LOCK, held)
        _tidy(folder, made, scratch)


def _tidy(folder: Path, made: list[Path], scratch: tuple[str, ...]) -> None:
    """Remove folders that this run has made and left without anything to keep."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if folder in made and all(path.name in scratch for path in files):
        shutil.rmtree(folder, ignore_errors=True)
    for path in made[1:]:
        with suppress(OSError):  # somebody else uses it by now
            path.rmdir()


def _hold(path: Path) -> int | None:
    """Open and lock a file; None where this process has it, or the disk knows no locks."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(opened)
        except BlockingIOError:
            holder = os.read(opened, 200).decode(errors="replace")
            os.close(opened)
            if holder == _own_name():
                return None
            raise ValueError(
                f"{path.parent} is in use by {holder or 'another process'}: two runs in one folder"
                " would mix their files. Wait for it, or choose another folder."
            ) from None
        except OSError:
            os.close(opened)
            return None
        # The last holder may have removed the file between opening and locking.
        if path.exists() and os.path.samestat(os.fstat(opened), path.stat()):
            os.ftruncate(opened, 0)
            os.write(opened, _own_name().encode())
            return opened
        os.close(opened)


def _lock(opened: int) -> None:
    """Lock an open file; BlockingIOError where another process has it, or an earlier call."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(opened, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
        finally:
            os.lseek(opened, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _release(path: Path, held: int) -> None:
    """Remove a file and its lock: in this order, or it may be the next holder's file by then.

    Windows removes no open file, but no file either that the next holder has opened.
    """
    if sys.platform == "win32":
        os.close(held)
        with suppress(OSError):
            path.unlink()
    else:
        path.unlink(missing_ok=True)
        os.close(held)


def _own_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
