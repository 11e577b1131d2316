"""Results that are kept: a killed experiment goes on behind the last one that was finished."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surefoot.evaluation.identity import identity
from surefoot.files import write_json


def kept(folder: Path | None, settings: dict[str, Any], make: Callable[[], Any]) -> Any:
    """Make a result, or read that of the same settings back.

    Args:
        folder: keeps the result in a JSON file named after the settings; None keeps nothing.
        settings: all that the result depends on.
        make: returns the result, of what JSON can hold.
    """
    if folder is None:
        return make()
    path = folder / f"{identity(settings)}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))["found"]
    found = make()
    folder.mkdir(parents=True, exist_ok=True)
    write_json({"settings": settings, "found": found}, path)
    return found
