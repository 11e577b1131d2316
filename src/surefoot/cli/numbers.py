"""Numbers on the command line: `--eps 8/255` is read as a fraction wherever a number may stand."""

from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo


def read_number(text: str) -> float:
    """Read 0.25, 1e-3, inf or 8/255.

    Raises:
        ValueError: anything else; names it.
    """
    if "/" in text:
        above, _, below = text.partition("/")
        try:
            return float(above) / float(below)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{text!r} is no fraction of two numbers") from error
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no number; write 0.25, 1e-3 or 8/255") from error


def shown(value: float) -> str:
    """Write a number as it would be typed: 8/255 rather than 0.03137254901960784."""
    levels = round(value * 255) if abs(value) < 10 else 0
    if len(repr(value)) > 8 and levels and value == levels / 255:
        return f"{levels}/255"
    return str(value)


def registry() -> ConstructorRegistry:
    """Return how the types of flags are read."""
    rules = ConstructorRegistry()

    @rules.primitive_rule
    def fraction(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not float:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="NUMBER",
            instance_from_str=lambda words: read_number(words[0]),
            is_instance=lambda value: isinstance(value, float | int),
            str_from_instance=lambda value: [shown(value)],
        )

    return rules
