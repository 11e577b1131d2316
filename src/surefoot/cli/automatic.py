"""Which certificate `--certificate auto` takes: by the kind of net, and by the time of an image."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from surefoot.files import read_json, write_json

if TYPE_CHECKING:
    from surefoot.data import Data
    from surefoot.evaluation import Plain
    from surefoot.guarantees import Guarantee

MOST_SECONDS = 2.0
"""That a relaxation may take for the first image."""
MOST_NUMBERS = 50_000
"""Hidden numbers of nets whose first image is timed; more take minutes."""
MOST_UNTIMED = 10_000
"""The same where nothing is timed."""
CLOCKS = (time.perf_counter, time.process_time)
"""The one that passes least counts: a busy machine slows one of them, several threads the other."""
FILE = "auto.json"
KNOWN = "a bound is known for every layer"

Clocks = Sequence[Callable[[], float]]
Certificate = Literal["lipschitz", "relaxation", "none"]


class Choice(NamedTuple):
    """A certificate, and why it is taken."""

    certificate: Certificate
    why: str


def choose(
    bounded: "Plain",
    data: "Data",
    guarantee: "Guarantee",
    *,
    asked: bool = False,
    timed: bool = True,
    clocks: Clocks | None = None,
) -> Choice:
    """Choose the certificate that is cheap or likely to certify something.

    Nets with layers of Lipschitz nets were made for that certificate. Of the others, those are
    bounded by relaxations whose first image takes at most `MOST_SECONDS`; else a Lipschitz bound is
    taken where there is one.

    Args:
        bounded: the net as relaxations would bound it, in the norm and at the radii of the run.
        data: that is evaluated.
        guarantee: of the run.
        asked: whether an effort of relaxations was asked for, whatever it takes.
        timed: False counts hidden numbers instead, so that all shards choose alike.
        clocks: that time the first image; None: `CLOCKS`.
    """
    from surefoot.certify.lipschitz import pairwise
    from surefoot.models.lipschitz.one_lipschitz import BetaAbs, MinMax

    model: Any = bounded.model
    if any(isinstance(layer, MinMax | BetaAbs) for layer in getattr(model, "modules", list)()):
        return Choice("lipschitz", KNOWN)
    try:
        taken, why = _relaxed(bounded, data, guarantee, asked, clocks if timed else ())
    except ValueError as error:
        taken, why = False, str(error).partition(". Known:")[0]
    if taken:
        return Choice("relaxation", f"a plain net, bounded in the norm of the threat; {why}")
    try:
        pairwise(model)
    except ValueError:
        return Choice("none", f"no useful bound is known; {why}; --certificate smoothing works")
    return Choice("lipschitz", f"{KNOWN}; no relaxation: {why}")


def _relaxed(
    bounded: "Plain", data: "Data", guarantee: "Guarantee", asked: bool, clocks: Clocks | None
) -> tuple[bool, str]:
    """Return whether a relaxation is taken, and why.

    Raises:
        ValueError: there is none.
    """
    from surefoot.certify.relaxation import hidden_numbers

    if guarantee.set_valued and bounded.rejects:
        raise ValueError("sets of a net that rejects have no relaxation")
    numbers = hidden_numbers(bounded.model, data.inputs(slice(0, 1)))
    if asked:
        return True, "its effort was asked for"
    most = MOST_NUMBERS if clocks is None or len(clocks) else MOST_UNTIMED
    if numbers > most:
        return False, f"{numbers:,} hidden numbers, more than {most:,}"
    if most == MOST_UNTIMED:
        return True, f"{numbers:,} hidden numbers, at most {most:,} (shards time nothing)"
    spent = _seconds(bounded, data, guarantee, clocks or CLOCKS)
    whole = timedelta(seconds=round(spent * len(data)))
    cost = f"the first of {len(data):,} images took {spent:.2g} s, all take at most about {whole}"
    if spent <= MOST_SECONDS:
        return True, f"{cost}; {MOST_SECONDS:g} s an image are allowed"
    return False, (
        f"{cost}; more than the {MOST_SECONDS:g} s an image that auto allows"
        " (--certificate relaxation takes it all the same)"
    )


def _seconds(bounded: "Plain", data: "Data", guarantee: "Guarantee", clocks: Clocks) -> float:
    """Time the certificate of the first image; the least of what the clocks say."""
    from surefoot.models.frozen import device_of

    model: Any = bounded.model
    image = data.inputs(slice(0, 1)).to(device_of(model))
    starts = [clock() for clock in clocks]
    bounded.clean_outputs(image, guarantee)
    return min(clock() - start for clock, start in zip(clocks, starts, strict=True))


def kept(folder: Path, asked: dict[str, Any], choose: Callable[[], Choice]) -> Choice:
    """Return the choice that a run before has left in the folder, or make and leave one.

    A second call must go on with the same certificate, however busy the machine is by then.

    Args:
        folder: of the run.
        asked: all that the choice depends on; another question is chosen for anew.
        choose: makes the choice.
    """
    from surefoot.evaluation.identity import identity

    question = identity(asked)
    try:
        stored = read_json(folder / FILE)
        if stored["question"] == question and stored["certificate"] in get_args(Certificate):
            return Choice(stored["certificate"], str(stored["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or not one of ours
    found = choose()
    write_json({"question": question, **found._asdict()}, folder / FILE)
    return found
