"""Files that are written all or nothing: a kill leaves the old content, never half of the new."""

import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def write_json(content: Any, path: Path) -> None:
    """Replace a JSON file at once."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
