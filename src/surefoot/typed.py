"""Frozen dataclasses from JSON: every value is checked against its annotation, none is trusted."""

import sys
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
PLAIN = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}

EDGES = ("-inf", "inf")
"""How an infinite `types.Edge` is written: JSON has no infinity."""


def from_json(kind: type[T], value: Any, name: str = "value") -> T:
    """Build a dataclass from what `json.loads` returned for `dataclasses.asdict` of it.

    Args:
        kind: a dataclass of plain values, `Literal`s, tuples, dicts, unions and dataclasses.
        value: to be read.
        name: of it in messages; "" for a whole file, whose entries are named alone.

    Raises:
        ValueError: a missing or unknown entry, a value of another type, or one that the dataclass
            itself refuses; names the entry by its path.
    """
    return _read(kind, value, name)


def _read(kind: Any, value: Any, name: str) -> Any:
    if kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _read_union(parts, value, name)
    if origin is Annotated:
        return float(value) if value in EDGES else _read(parts[0], value, name)
    if origin is Literal:
        _demand(value in parts, name, f"one of {', '.join(map(str, parts))}", value)
        return value
    if origin is tuple:
        _demand(isinstance(value, list | tuple), name, "a list", value)
        return tuple(_read(parts[0], one, f"{name}[{at}]") for at, one in enumerate(value))
    if origin is dict:
        _demand(isinstance(value, dict), name, "an object", value)
        return {key: _read(parts[1], one, f"{name}.{key}") for key, one in value.items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, value, name)
    return _read_plain(kind, value, name)


def _read_plain(kind: type, value: Any, name: str) -> Any:
    wanted = (int, float) if kind is float else kind
    good = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    if good and kind is float:
        good = abs(value) <= sys.float_info.max  # False for NaN
    _demand(good, name, PLAIN[kind], value)
    return float(value) if kind is float else value


def _read_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """Read one of several: None, or the dataclass whose constant `method` is that of the value."""
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    if len(others) == 1:
        return _read(others[0], value, name)
    named = {get_args(get_type_hints(kind)["method"])[0]: kind for kind in others}
    method = value.get("method") if isinstance(value, dict) else None
    wanted = f"null, or an object with a method, one of {', '.join(named)}"
    _demand(isinstance(method, str) and method in named, name, wanted, value)
    return _read_dataclass(named[method], value, name)


def _read_dataclass(kind: Any, value: Any, name: str) -> Any:
    _demand(isinstance(value, dict), name, "an object", value)
    known = {one.name: one for one in fields(kind)}
    strange = ", ".join(map(str, value.keys() - known.keys()))
    _demand(not strange, name, f"an object of {', '.join(known)}", f"also {strange}")
    hints, prefix = get_type_hints(kind, include_extras=True), f"{name}." if name else ""
    for key, one in known.items():
        needed = one.default is MISSING and one.default_factory is MISSING
        _demand(key in value or not needed, prefix + key, "there", "nothing")
    read = {key: _read(hints[key], one, prefix + key) for key, one in value.items()}
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"`{name}` is not valid: {error}" if name else str(error)) from error


def _demand(good: bool, name: str, wanted: str, found: Any) -> None:
    if not good:
        raise ValueError(f"`{name}` must be {wanted}; found {str(found)[:120]}")
