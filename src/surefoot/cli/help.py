"""`--help`: the flags of daily use; `--help-all`: all of them."""

from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from inspect import cleandoc
from typing import Annotated, Any, get_type_hints

import tyro

from surefoot.cli.options import default_of

NOTE = "\n\nThese are the flags of daily use; --help-all explains every one.\n\nArgs:"


def of_daily_use(command: Any) -> Any:
    """Return the command with all flags hidden but those in `command.daily`; it is never run."""
    daily = getattr(command, "daily", None)
    return command if daily is None else _hidden(command, daily, MISSING, NOTE)


def _hidden(record: type, daily: tuple[str, ...], usual: Any, note: str = "\n\nArgs:") -> type:
    """Return a record of the same fields, its defaults those of `usual` (MISSING: its own)."""
    hints, parts = get_type_hints(record, include_extras=True), []
    for one in fields(record):
        kind = hints[one.name]
        value = default_of(one) if usual is MISSING else getattr(usual, one.name)
        if isinstance(kind, type) and is_dataclass(kind):
            kind = _hidden(kind, daily, value)
            value = value if value is MISSING else kind()
        elif one.name not in daily:
            kind = Annotated[kind, tyro.conf.Suppress]
        parts.append((one.name, kind, *(() if value is MISSING else (field(default=value),))))
    own = {"__doc__": cleandoc(record.__doc__ or "").replace("\n\nArgs:", note)}
    return make_dataclass(record.__name__, parts, frozen=True, namespace=own)
