"""A gate for continuous integration: `--fail-under certified=0.6 attacked=0.7`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.evaluation.record import Record

METRICS = ("clean", "attacked", "certified", "coverage")


class GateFailure(Exception):
    """A metric is smaller than was asked for."""


def read_gate(demands: Sequence[str]) -> dict[str, float]:
    """Read "certified=0.6": metric and least fraction.

    Raises:
        ValueError: another form, an unknown metric, or no fraction.
    """
    from surefoot.cli.numbers import read_number

    found = {}
    for one in demands:
        name, _, text = one.partition("=")
        try:
            least = read_number(text)
        except ValueError:
            least = -1.0
        if name not in METRICS or not 0 <= least <= 1:
            raise ValueError(
                f"--fail-under takes METRIC=FRACTION, METRIC one of {', '.join(METRICS)}; found"
                f" {one!r}. For example --fail-under certified=0.6 attacked=0.7"
            )
        found[name] = least
    return found


def check_gate(record: "Record", gate: dict[str, float]) -> None:
    """Raise unless every metric at eps reaches what the gate asks for."""
    from surefoot.evaluation.metrics import headline
    from surefoot.wording import percent

    found = headline(record)
    missed = []
    for name, least in gate.items():
        value = found[name]
        if value is None:
            missed.append(f"{name} was not measured")
        elif value < least:
            missed.append(f"{name} {percent(value)} is under {percent(least)}")
    if missed:
        raise GateFailure(f"--fail-under: {'; '.join(missed)}")
