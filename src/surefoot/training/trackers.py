"""Trackers of accelerate that a training run sends its log to, beside `log.jsonl`."""

from collections.abc import Sequence
from typing import Any

from accelerate.utils import is_tensorboard_available

KNOWN = ("tensorboard",)


def checked(names: Sequence[str]) -> list[Any] | None:
    """Return the names as accelerate takes them; None for none.

    Raises:
        ValueError: a tracker that is not known.
        ImportError: the extra `track` is not installed.
    """
    if strange := set(names) - set(KNOWN):
        raise ValueError(f"`trackers` knows {', '.join(KNOWN)}; found {', '.join(sorted(strange))}")
    if names and not is_tensorboard_available():
        raise ImportError(
            "tracking needs the package `tensorboard`. Install it with: pip install"
            " 'surefoot[track]'"
        )
    return list(names) or None


def numbers(line: dict[str, Any]) -> dict[str, float]:
    """Return what a tracker can draw of a line of the log."""
    found = {name: value for name, value in line.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in found.items() if name != "epoch"}
