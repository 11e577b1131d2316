"""VNN-LIB 1.0: specifications of networks, read without running anything in them.

Read is the subset that verification competitions use: constants `X_i` and `Y_j` of type Real, and
assertions of `<=`, `>=`, `and`, `or` over linear terms (`+`, `-`, `*` by a number). A file states
what a COUNTEREXAMPLE is: a point X of its box whose outputs Y satisfy it; where none exists the
property holds. Demirović et al., https://www.vnnlib.org (format of VNN-COMP 2021 to 2024).
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LARGEST_FILE = 2**28
"""Bytes of a specification, unpacked."""
MOST_CASES = 10_000
"""Conjunctions that a specification may unfold into."""
DEEPEST = 64
_TOKEN = re.compile(r"\s+|;[^\n]*|([()])|([^\s();]+)")
_NAME = re.compile(r"([XY])_(\d+)")


class Violation(NamedTuple):
    """One way to violate a property: x in a box, and C y <= d for all rows of C.

    Args:
        lower: ends of the box of the inputs, `[I]`, float64.
        upper: ditto.
        rows: C, `[R, O]`.
        bounds: d, `[R]`.
    """

    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray


class Specification(NamedTuple):
    """What a counterexample is: any of the cases.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        cases: of violation, at least one.
    """

    inputs: int
    outputs: int
    cases: list[Violation]


def read_vnnlib(path: Path | str) -> Specification:
    """Read a specification, `.vnnlib` or `.vnnlib.gz`.

    Raises:
        ValueError: it is none, is too large, or says what is not read; names place and remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no specification {path}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable VNN-LIB file ({error})") from error
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{path} holds more than {LARGEST_FILE:,} bytes: that is too large")
    try:
        return _specification(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _specification(text: str) -> Specification:
    declared: dict[str, int] = {}
    cases: list[list[_Half]] = [[]]
    for line, command in _commands(text):
        try:
            kind = command[0] if command else None
            if kind == "declare-const" and len(command) == 3:
                _declare(declared, command[1], command[2])
            elif kind == "assert" and len(command) == 2:
                cases = _product(cases, _cases(command[1], declared))
            else:
                raise ValueError(
                    f"({_shown(kind)} ...) is not read: known are (declare-const X_0 Real) and"
                    " (assert ...) of VNN-LIB 1.0. Files of version 2.0 start with (vnnlib-version"
                    " ...): export them as 1.0"
                )
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
    inputs, outputs = (_count(declared, letter) for letter in "XY")
    found = [_case(halves, inputs, outputs) for halves in cases]
    kept = [case for case in found if case is not None]
    if not kept:
        raise ValueError(
            "no input satisfies its assertions, so it would hold of any network: a lower bound of"
            " an input lies above its upper bound"
        )
    return Specification(inputs, outputs, kept)


class _Half(NamedTuple):
    """A half-space: sum of coefficients times constants <= bound."""

    coefficients: dict[str, float]
    bound: float


def _commands(text: str) -> Iterator[tuple[int, list[Any]]]:
    """Yield each expression at the top as nested lists, with its line."""
    stack: list[list[Any]] = []
    place, line, began = 0, 1, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        assert found is not None  # every character is matched by one of the four
        bracket, word = found.groups()
        if bracket == "(":
            began = began if stack else line
            stack.append([])
            if len(stack) > DEEPEST:
                raise ValueError(f"line {line}: brackets are nested more than {DEEPEST} deep")
        elif bracket == ")":
            if not stack:
                raise ValueError(f"line {line}: there is a ) too many")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield began, done
        elif word is not None:
            if not stack:
                raise ValueError(f"line {line}: {_shown(word)} stands outside of brackets")
            stack[-1].append(word)
        line += found.group().count("\n")
        place = found.end()
    if stack:
        raise ValueError(f"the bracket of line {began} is never closed: is the file cut off?")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else "(...)" if value is not None else "()"
    return repr(text[:40])


def _declare(declared: dict[str, int], name: Any, kind: Any) -> None:
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or kind != "Real":
        raise ValueError(f"{_shown(name)} is not read: constants are X_0, Y_0, ... of type Real")
    if name in declared:
        raise ValueError(f"{name} is declared twice")
    declared[name] = int(match.group(2))


def _count(declared: dict[str, int], letter: str) -> int:
    numbers = sorted(number for name, number in declared.items() if name[0] == letter)
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(
            f"the constants {letter}_0, {letter}_1, ... must be declared without a gap; found"
            f" {len(numbers)}, the largest is {numbers[-1] if numbers else 'none'}"
        )
    return len(numbers)


def _cases(expression: Any, declared: dict[str, int]) -> list[list[_Half]]:
    """Return an expression as a list of conjunctions."""
    kind = expression[0] if isinstance(expression, list) and expression else None
    if kind == "or" and len(expression) > 1:
        found = [case for one in expression[1:] for case in _cases(one, declared)]
        return _checked(found)
    if kind == "and" and len(expression) > 1:
        cases: list[list[_Half]] = [[]]
        for one in expression[1:]:
            cases = _product(cases, _cases(one, declared))
        return cases
    if kind in ("<=", ">=") and len(expression) == 3:
        left, right = (_linear(one, declared) for one in expression[1:])
        if kind == ">=":
            left, right = right, left
        names = dict.fromkeys((*left, *right))
        both = {name: left.get(name, 0.0) - right.get(name, 0.0) for name in names}
        return [[_Half({name: both[name] for name in both if name}, -both.get("", 0.0))]]
    raise ValueError(
        f"({_shown(kind)} ...) is not read: known are (<= a b), (>= a b), (and ...), (or ...)"
    )


def _product(cases: list[list[_Half]], others: list[list[_Half]]) -> list[list[_Half]]:
    """Return the conjunctions of two disjunctions."""
    if len(others) == 1:  # the usual case, of thousands of lines: without copies
        for case in cases:
            case.extend(others[0])
        return cases
    if len(cases) * len(others) > MOST_CASES:
        raise _too_many()
    return [[*case, *other] for case in cases for other in others]


def _checked(cases: list[list[_Half]]) -> list[list[_Half]]:
    if len(cases) > MOST_CASES:
        raise _too_many()
    return cases


def _too_many() -> ValueError:
    return ValueError(
        f"its assertions unfold into more than {MOST_CASES:,} cases: split the file, one box each"
    )


def _linear(term: Any, declared: dict[str, int]) -> dict[str, float]:
    """Return the coefficients of a linear term; that of "" is its constant."""
    if isinstance(term, str):
        if term in declared:
            return {term: 1.0}
        return {"": _number(term)}
    kind, parts = (term[0], [_linear(one, declared) for one in term[1:]]) if term else (None, [])
    if kind == "+" and parts:
        return _sum(parts)
    if kind == "-" and parts:
        first, rest = (parts[0], parts[1:]) if len(parts) > 1 else ({}, parts)
        return _sum([first, *({name: -value for name, value in one.items()} for one in rest)])
    if kind == "*" and len(parts) == 2:
        factor, other = parts if set(parts[0]) <= {""} else parts[::-1]
        if set(factor) <= {""}:
            return {name: value * factor.get("", 0.0) for name, value in other.items()}
    raise ValueError(f"({_shown(kind)} ...) is no linear term: known are +, - and * by a number")


def _sum(parts: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in parts for name in one)
    return {name: sum(one.get(name, 0.0) for one in parts) for name in names}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{_shown(text)} is neither a finite number nor a declared constant")
    return value


def _case(halves: list[_Half], inputs: int, outputs: int) -> Violation | None:
    """Return box and rows of a conjunction; None if its box is empty."""
    lower, upper = np.full(inputs, -np.inf), np.full(inputs, np.inf)
    rows, bounds = [], []
    for half in halves:
        names = {name[0] for name, value in half.coefficients.items() if value}
        if names == {"X"}:
            _cut(lower, upper, half)
        elif names <= {"Y"}:
            row = np.zeros(outputs)
            for name, value in half.coefficients.items():
                row[int(name[2:])] = value
            rows.append(row)
            bounds.append(half.bound)
        else:
            raise ValueError("a relation between inputs and outputs is not read: only boxes are")
    if (lower > upper).any():
        return None
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        place = int(np.argmax(~(np.isfinite(lower) & np.isfinite(upper))))
        raise ValueError(f"X_{place} has no lower or no upper bound: every input needs both")
    if not rows:
        rows, bounds = [np.zeros(outputs)], [0.0]  # 0 <= 0: every point of the box violates
    return Violation(lower, upper, np.stack(rows), np.array(bounds))


def _cut(lower: np.ndarray, upper: np.ndarray, half: _Half) -> None:
    used = [(int(name[2:]), value) for name, value in half.coefficients.items() if value]
    if len(used) != 1 or abs(used[0][1]) != 1:
        raise ValueError("a relation between several inputs is not read: input sets are boxes")
    (place, factor) = used[0]
    if factor > 0:
        upper[place] = min(upper[place], half.bound)
    else:
        lower[place] = max(lower[place], -half.bound)
