"""Text from outside (names of classes, files, models), made harmless for what shows it.

One function a medium; HTML is escaped by its templates, which call `visible` on every value.
"""

import re
from typing import Any

_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*_{}|!~]|\[(?!\d)|(?<=\])[(:\[]")
_FORMULA = ("=", "+", "-", "@")


def visible(text: object) -> str:
    r"""Write what acts instead of showing as its code: controls, turned directions, broken bytes.

    Example:
        >>> visible("red \x1b[31m")
        'red \\u001b[31m'
    """
    found = _HIDDEN.sub(_code, str(text))
    return _SURROGATES.sub(_code, found)


def one_line(text: object) -> str:
    """Write a text in one line of a terminal."""
    return visible(" ".join(str(text).split()))


def markdown(text: object) -> str:
    r"""Write a text within a line, or a cell of a table, of Markdown: no tags, images or links.

    Example:
        >>> markdown("a|b ![x](y)")
        'a\\|b \\!\\[x]\\(y)'
    """
    safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(lambda found: "\\" + found[0], safe)


def fenced(text: str) -> str:
    """Write a text as a block of code that none of its own backticks can end."""
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    lines = "\n".join(visible(line) for line in text.strip().split("\n"))
    return f"{fence}\n{lines}\n{fence}"


def cell(value: Any) -> Any:
    """Write a text of a CSV file so that no spreadsheet takes it for a formula; pass on the rest.

    Example:
        >>> cell("=1+1"), cell(-1.5)
        ("'=1+1", -1.5)
    """
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
