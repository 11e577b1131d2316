"""A certificate that does not hang on noise, recomputed for some rows of a record with its net."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from surefoot.cli.evaluate import Command
    from surefoot.data import Data
    from surefoot.evaluation import Plain, Record
    from surefoot.evaluation.header import Header

METHODS = ("relaxation", "lipschitz")
ROOM = (1e-3, 1e-6)
"""By how much a radius may be smaller, relative and absolute: logits round otherwise in a batch of
another size."""


def recompute(folder: Path, model: str, count: int) -> tuple[list[str], list[str]]:
    """Return what a recomputed certificate contradicts, and what was recomputed and what not.

    Data, rejection and preprocessing are those of the command that stands in the record.

    Args:
        folder: of the record.
        model: the net.
        count: rows, evenly spread over those that are certified; 0 takes all.

    Raises:
        ValueError: record, net and data do not belong together, or there is nothing to recompute.
    """
    from surefoot.evaluation import read

    record = read(folder)
    header = record.header
    by: Any = header.certificate
    if by is None or by.method not in METHODS:
        what = (
            "no certificate" if by is None else f"a certificate by {by.method}, which draws noise"
        )
        raise ValueError(
            f"{folder} has {what}: only those by {' and '.join(METHODS)} are recomputed; leave"
            " --model out"
        )
    command = _command(header, model)
    data, others = command.rows.load()
    if data.fingerprint() != header.data.hash:
        raise ValueError(
            f"the data {command.rows.data} are not those of {folder}: their hash is another. Put"
            " the files of that evaluation where its command names them, and call from its folder"
        )
    classifier = _classifier(command, header, data, others)
    places = _sample(record, count)
    wrong = _compared(classifier, record, data, command.guarantee.build(data.classes), places)
    effort = f", {getattr(by, 'effort', '')}".rstrip(", ")
    told = [
        f"recomputed: the certificate of {len(places)} rows ({by.method}{effort})",
        f"not recomputed: {len(record.rows) - len(places)} other rows, attacks, limits",
    ]
    if getattr(by, "seconds", None) is not None:
        late = [one for one in wrong if "recomputed only to" in one]
        wrong = [one for one in wrong if one not in late]
        told += [f"not confirmed within {by.seconds} s an image (no fault): {one}" for one in late]
    return wrong, told


def _command(header: "Header", model: str) -> "Command":
    """Return the command that stands in a record, about this net."""
    from surefoot.cli import parsed

    words = shlex.split(header.command)
    if len(words) < 2 or words[0] != "surefoot" or words[1] not in ("evaluate", "certify"):
        raise ValueError(
            f"the record was not written by surefoot evaluate or certify (its command is"
            f" {header.command!r}), so that its data are not known: call bracket in Python again,"
            " and compare"
        )
    command: Any = parsed(words[1], words[2:])
    # The record is a file from somewhere: what it names is not run, only the net given here.
    return replace(command, subject=replace(command.subject, model=model, trust_code=False))


def _classifier(
    command: "Command", header: "Header", data: "Data", others: "Data | None"
) -> "Plain":
    """Return the classifier with its certificate; raise unless it is that of the record."""
    from surefoot.evaluation import Plain
    from surefoot.evaluation.identity import identity_of

    net = command.subject.open(data, others)
    found, stated = identity_of(net, data), header.model
    if (found["hash"], found["attributes"]) != (stated.hash, stated.attributes):
        raise ValueError(
            f"{command.subject.model} is not the net of the record: weights, thresholds or other"
            " numbers differ. Give the one that was evaluated"
        )
    by: Any = header.certificate
    bounds = {}
    if by.method == "relaxation":
        bounds = {"effort": by.effort, "seconds": by.seconds}
    classifier = Plain(net, by.method, **bounds).within(header.threat, header.radii)
    return replace(classifier, decided=tuple(getattr(by, "decided", ())))


def _sample(record: "Record", count: int) -> list[int]:
    """Return rows spread over those that are certified; of the others there is nothing to show."""
    certified = (record.rows["certified"] > 0).to_numpy().nonzero()[0].tolist()
    if count == 0 or count >= len(certified):
        return certified
    return [certified[place * len(certified) // count] for place in range(count)]


def _compared(
    classifier: "Plain", record: "Record", data: "Data", guarantee: Any, places: list[int]
) -> list[str]:
    """Return where sets differ, or a radius is larger than the one that is recomputed."""
    from surefoot.evaluation.record import join_sets, split_radii

    header = record.header
    scale = replace(header.threat, eps=1.0).l2_radius(header.dimension)
    scale = 1.0 if classifier.certified_norm == header.threat.norm else scale
    wrong = []
    for start in range(0, len(places), classifier.chunk):
        part = places[start : start + classifier.chunk]
        rows = record.rows.iloc[part]
        indices = rows["index"].tolist()
        outputs = classifier.clean_outputs(_images(classifier, data, indices), guarantee)
        assert outputs.radii is not None
        own = (outputs.radii.double() / scale).tolist()
        stated = split_radii(rows["radii"].tolist())
        for place, sets in enumerate(join_sets(outputs.sets.cpu())):
            name = f"row {indices[place]}"
            if sets != rows["sets"].iloc[place]:
                wrong.append(f"{name}: its sets are {sets}, the record says otherwise")
                continue
            for found, told in zip(own[place], stated[place], strict=True):
                if not told <= found * (1 + ROOM[0]) + ROOM[1]:
                    wrong.append(f"{name}: certified to {told:g}, recomputed only to {found:g}")
    return wrong


def _images(classifier: "Plain", data: "Data", indices: list[int]) -> "Tensor":
    from surefoot.models.frozen import device_of

    images = torch.cat([data.inputs(slice(index, index + 1)) for index in indices])
    return images.to(device_of(classifier.net))
