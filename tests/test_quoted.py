"""Every figure of the documentation has a stored row: a mark above the table or text names it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
GENERATED = {"results.md", "transcripts.md"}  # compared with their rows as a whole
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
MARK = re.compile(r"<!-- (rows: .+|published|settings|example) -->")
MEASURED = re.compile(
    r"(?<![\w.])(\d*\.?\d+) (?:%|points?\b|times\b|m?s\b|minutes?\b|seconds\b|[MG]i?B\b|CPU)"
)
"""A number with the unit of a measurement, in a sentence."""
FILLED = {"tutorial.md": "rows: front_door"}
"""Pages whose times are filled in from rows."""
CONVENTIONS = {"95", "100", "0", "1"}
"""Levels of intervals, all, none, and one of something: no measurements."""
NUMBER = re.compile(r"(?<![\w.])\d*\.\d+(?:e-?\d+)?(?![.\d])")
FEW = 2
"""Numbers that a table without measurements may hold, as in a name of it."""


def tables(text: str) -> Iterator[tuple[str, list[str]]]:
    """Give each table with the mark that stands above it, or ""."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if not line.startswith("|") or (place and lines[place - 1].startswith("|")):
            continue
        end = place
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        mark = MARK.findall("\n".join(lines[max(place - 3, 0) : place]))
        yield mark[-1] if mark else "", lines[place:end]


def quoted(table: list[str]) -> list[str]:
    """Return the numbers of a table, without names, code and columns of published figures."""
    cells = [line.strip("|").split("|") for line in table]
    kept = [place for place, name in enumerate(cells[0]) if place and "published" not in name]
    text = [row[place] for row in cells[2:] for place in kept if place < len(row)]
    return [number for cell in text for number in NUMBER.findall(re.sub(r"`[^`]*`", "", cell))]


def sentences(text: str) -> Iterator[tuple[str, str]]:
    """Give each paragraph that is no table, without code, with the mark above it, or ""."""
    mark = ""
    for paragraph in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        found = MARK.findall(paragraph)
        if not paragraph.lstrip().startswith("|"):
            shown = re.sub(r"<!--.*?-->|`[^`]*`", "", paragraph, flags=re.DOTALL)
            yield (found or [mark])[-1], shown
        mark = found[-1] if found and MARK.fullmatch(paragraph.strip()) else ""


def numbers(value) -> Iterator[float]:
    """Give every number that a row holds."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def stored(mark: str) -> list[float]:
    """Return the numbers of the rows that a mark names: "rows: NAME key=value ..."."""
    name, *wanted = mark.removeprefix("rows: ").split()
    asked = dict(one.split("=") for one in wanted)
    lines = (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if asked.items() <= row.items()]
    return [number for row in rows for number in numbers(row)]


def is_stored(number: str, values: list[float]) -> bool:
    """Return whether a number is one of these: as it is, in percent, or its distance from 1."""
    mantissa, _, power = number.partition("e")
    scale = 10.0 ** int(power or 0)
    step = scale * 10.0 ** -len(mantissa.partition(".")[2])
    shown = float(number)
    forms = (lambda x: x, lambda x: 100 * x, lambda x: x - 1, lambda x: 1 - x)
    return any(abs(abs(form(x)) - shown) <= 1.01 * step for form, x in product(forms, values))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_figure_of_a_table_has_a_stored_row(path):
    if path.name in GENERATED:
        return
    for mark, table in tables(path.read_text(encoding="utf-8")):
        found = quoted(table)
        if mark in ("published", "settings") or (not mark and len(found) <= FEW):
            continue
        assert mark, f"no row is named for {table[0]}"
        values = stored(mark)
        lost = [number for number in found if not is_stored(number, values)]
        assert not lost, f"{table[0]}: no stored row has {lost}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_measurement_in_a_sentence_has_a_stored_row(path):
    if path.name in GENERATED:
        return
    for mark, paragraph in sentences(path.read_text(encoding="utf-8")):
        found = [number for number in MEASURED.findall(paragraph) if number not in CONVENTIONS]
        if mark in ("published", "settings", "example") or not found:
            continue
        mark = mark or FILLED.get(path.name, "")
        assert mark, f"no row is named for {' '.join(paragraph.split())[:200]}"
        values = stored(mark)
        lost = [number for number in found if not is_stored(number, values)]
        assert not lost, f"{' '.join(paragraph.split())[:200]}: no stored row has {lost}"


def test_a_figure_without_a_row_is_found():
    assert is_stored("97.4", [0.974])
    assert is_stored("2.2e-3", [1.0022])
    assert not is_stored("97.4", [0.971, 96.9])
    table = ["| name | ours | published |", "|---|---|---|", "| a 1.5 | 3.25 | 9.99 |"]
    assert quoted(table) == ["3.25"]
    assert [mark for mark, _ in tables("<!-- rows: toys -->\n\n" + "\n".join(table))] == [
        "rows: toys"
    ]
    page = "A 95 % level.\n\n<!-- rows: toys -->\n\nIt took 3.5 s.\n\nNow 7 %.\n\n```\n9 %\n```"
    assert list(sentences(page))[2] == ("rows: toys", "It took 3.5 s.")
    assert [(mark, MEASURED.findall(one)) for mark, one in sentences(page)] == [
        *(("", ["95"]), ("rows: toys", []), ("rows: toys", ["3.5"]), ("", ["7"]), ("", []))
    ]


def test_the_table_of_the_demo_is_that_of_a_run():
    line = [sys.executable, str(ROOT / "benchmarks" / "demo.py"), "--check"]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
