"""Counterexamples for other programs: VNN-LIB properties with their values, and one .npz.

VNN-LIB 1.0 (VNN-COMP): the input box and, over the outputs, what a counterexample does there. It
knows boxes alone, and one point: balls in l2, votes, and rows whose sets were broken by different
points are in the .npz only. Inputs are numbered in the order of the flattened image, outputs in
that of the outcomes (of a selective classifier the last one is "uncertain").
"""

import io
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.evaluation.header import Header
from surefoot.evaluation.record import Record, split_sets
from surefoot.files import write_whole
from surefoot.threat import Threat

ROUNDING = 1e-6
"""Of the radius: by how much float32 may leave the ball, as in `surefoot.check`."""
Set = tuple[int, ...]


def write_npz(record: Record, folder: Path) -> Path:
    """Write `counterexamples.npz`: images, perturbed, labels, radius, norm, row numbers, outcomes.

    Raises:
        ValueError: the record has no counterexamples.
    """
    kept, header = _kept(record), record.header
    arrays: dict[str, Any] = {
        "index": kept["index"],
        "images": kept["images"],
        "perturbed": kept["adversarial"],
        "labels": _labels(record, kept["index"]),
        "radius": kept["radius"],
        "norm": np.array(header.norm),
        "box": np.array([header.threat.low, header.threat.high]),
        "guarantee": np.array(header.guarantee.title),
        "classes": np.array(header.data.classes),
    }
    arrays |= {"outcomes": kept["outcomes"]} if "outcomes" in kept else {}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path = folder / "counterexamples.npz"
    write_whole(path, content.getvalue())
    return path


def write_vnnlib(record: Record, folder: Path) -> tuple[Path, int]:
    """Write `vnnlib/row-N.vnnlib` and `row-N.counterexample` for every broken row.

    Returns:
        the folder, and how many rows were left out: sets that were broken by different points.

    Raises:
        ValueError: the record has no counterexamples, or VNN-LIB cannot express them.
    """
    kept = _kept(record)
    _check_box(record.header, kept)
    target, left_out = folder / "vnnlib", 0
    shutil.rmtree(target, ignore_errors=True)  # may be of a record that lay there before
    labels = _labels(record, kept["index"])
    rows = record.rows.set_index("index").loc[kept["index"]]
    for place, (index, texts) in enumerate(zip(kept["index"], rows["sets"], strict=True)):
        outcomes = kept["outcomes"][place]
        sets = _sets(record.header, texts, int(labels[place]), len(outcomes))
        broken = [_broken(record.header, one, len(outcomes)) for one in sets]
        if not all(any(_holds(one, outcomes) for one in cases) for cases in broken):
            left_out += 1
            continue
        point = kept["adversarial"][place].reshape(-1)
        box = _box(record.header.threat, kept["images"][place].reshape(-1), point,
                   float(kept["radius"][place]))  # fmt: skip
        lines = [*_about(record.header, int(index)), *_declared(len(point), len(outcomes))]
        lines += [*_bounds(*box), *map(_assertion, broken)]
        write_whole(target / f"row-{index}.vnnlib", ("\n".join(lines) + "\n").encode())
        values = "\n ".join([*_values("X", point), *_values("Y", outcomes)])
        write_whole(target / f"row-{index}.counterexample", f"({values})\n".encode())
    return target, left_out


def _kept(record: Record) -> dict[str, np.ndarray]:
    if not record.counterexamples:
        why = "was not attacked" if record.header.attack is None else "has no broken row"
        raise ValueError(f"{record.header.name} {why}: there are no counterexamples to write")
    return {name: value.numpy() for name, value in record.counterexamples.items()}


def _labels(record: Record, index: np.ndarray) -> np.ndarray:
    return record.rows.set_index("index")["label"].loc[index].to_numpy()


def _check_box(header: Header, kept: dict[str, np.ndarray]) -> None:
    if header.norm != "linf":
        raise ValueError(
            f"VNN-LIB knows boxes, and a ball in {header.norm} is none: take --format npz"
        )
    if header.model.classifier == "vote":
        raise ValueError(
            "VNN-LIB is about the outputs of a network, and these counterexamples are of its vote"
            " under noise: take --format npz"
        )
    if "outcomes" not in kept:
        raise ValueError(
            "these counterexamples were stored without the outputs of the network, by an older"
            " version: evaluate again, in another folder"
        )


def _sets(header: Header, texts: str, label: int, count: int) -> list[Set]:
    """Return the alternatives that had to be broken: those that made the row right."""
    if header.guarantee.counts_rejection_as_right:
        return [(label, count - 1)]
    (alternatives,) = split_sets([texts])
    return [tuple(members) for members in alternatives if label in members]


def _broken(header: Header, members: Set, count: int) -> list[list[tuple[int, int]]]:
    """List the ways to break a set, each as pairs (i, a): outcome i is at least outcome a."""
    others = [outcome for outcome in range(count) if outcome not in members]
    if header.guarantee.counts_rejection_as_right:  # the winner leaves the set
        return [[(other, member) for member in members] for other in others]
    return [[(other, member)] for other, member in itertools.product(others, members)]


def _holds(pairs: Sequence[tuple[int, int]], outcomes: np.ndarray) -> bool:
    return all(outcomes[other] >= outcomes[member] for other, member in pairs)


def _box(
    threat: Threat, image: np.ndarray, point: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the box, wide enough for what float32 has rounded out of it."""
    centre, there = image.astype(np.float64), point.astype(np.float64)
    low, high = np.maximum(centre - radius, threat.low), np.minimum(centre + radius, threat.high)
    outside = np.maximum(low - there, there - high).max()
    if outside > ROUNDING * max(radius, 1.0):
        raise ValueError(
            f"a counterexample lies {outside:g} outside its box: the record is damaged"
        )
    return np.minimum(low, there), np.maximum(high, there)


def _about(header: Header, index: int) -> Iterator[str]:
    yield f"; row {index} of {header.data.name}: {header.guarantee_text()}".replace("\n", " ")
    yield "; satisfiable: the values beside this file are inside the box and break the guarantee"


def _declared(inputs: int, outputs: int) -> Iterator[str]:
    yield from (f"(declare-const X_{place} Real)" for place in range(inputs))
    yield from (f"(declare-const Y_{place} Real)" for place in range(outputs))


def _bounds(low: np.ndarray, high: np.ndarray) -> Iterator[str]:
    for place, (least, most) in enumerate(zip(low, high, strict=True)):
        yield f"(assert (>= X_{place} {_decimal(least)}))"
        yield f"(assert (<= X_{place} {_decimal(most)}))"


def _assertion(cases: Sequence[Sequence[tuple[int, int]]]) -> str:
    """Write one set as a disjunction of conjunctions; several sets must all be broken."""
    ways = [
        "(and " + " ".join(f"(>= Y_{other} Y_{member})" for other, member in pairs) + ")"
        for pairs in cases
    ]
    return f"(assert (or {' '.join(ways)}))"


def _values(letter: str, values: np.ndarray) -> Iterator[str]:
    for place, value in enumerate(values):
        yield f"({letter}_{place} {_decimal(value)})"


def _decimal(value: np.floating) -> str:
    """Write a number so that reading it as float64 gives its very bits, without an exponent."""
    return np.format_float_positional(np.float64(value), trim="0")
