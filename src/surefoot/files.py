"""Files that are written all or nothing: a kill leaves the old content, never half of the new."""

import json
import os
from contextlib import suppress
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
    write_whole(path, frame.map(cell).to_csv(index=False).encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is no JSON, or is nested too deeply; names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be read; the file is damaged") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the file is damaged") from error
