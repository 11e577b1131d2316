"""The same figures as Markdown: a summary of several records, a model card of one."""

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surefoot.escape import fenced, markdown, visible
from surefoot.evaluation.certified_sets import is_set_valued
from surefoot.evaluation.metrics import (
    attacked_accuracy,
    certified_accuracy,
    clean_accuracy,
    coverage,
    mean_set_size,
)
from surefoot.evaluation.record import Record, as_sequence
from surefoot.files import write_whole
from surefoot.report.tables import (
    by_certified_set,
    by_class,
    by_radius,
    by_set_size,
    differences,
    headline,
    notes_of,
    to_markdown,
    warnings_of,
)
from surefoot.report.words import grounds, in_plain_words
from surefoot.wording import NORM_SIGNS

GUIDE = (
    "Certified ≤ true robust accuracy ≤ attacked ≤ clean: certified accuracy is proven, attacked "
    "accuracy is what the attacks did not break, and what lies between is unknown; brackets hold "
    "95 % intervals for the size of the test set."
)

SETS_GUIDE = (
    "VRA is verified robust accuracy: local, the label alone is certified; strict, it lies in the "
    "smallest certified set; relaxed, in some certified set. Relaxed VRA alone can be bought with "
    "large sets: read it beside strict VRA, the sizes and the rejections."
)


def write_markdown(records: Record | Sequence[Record], path: Path | str) -> Path:
    """Write a summary of one or several records, all or nothing."""
    records, path = as_sequence(records), Path(path)
    parts = ["# Robustness report", GUIDE, _warning_list(records), _note_list(records)]
    parts.append(to_markdown(headline(records)))
    found = differences(records)
    parts += [] if found is None else ["## Differences on the same images", to_markdown(found)]
    for record in records:
        parts += [f"## {markdown(record.header.name)}", *_body(record)]
    write_whole(path, ("\n\n".join(part.strip() for part in parts if part) + "\n").encode())
    return path


def model_card(record: Record) -> str:
    """Write a model card whose front matter holds the same figures as Hub `model-index`."""
    matter = {
        "library_name": "surefoot",
        "tags": ["robustness", "image-classification"],
        "model-index": [{"name": record.header.name, "results": [_result(record)]}],
    }
    title = f"# {markdown(record.header.name)}"
    parts = [title, in_plain_words(record), GUIDE, _warning_list([record])]
    parts += [_note_list([record]), to_markdown(headline([record]))]
    parts += _body(record)
    text = "\n\n".join(part.strip() for part in parts if part)
    return f"---\n{_front_matter(matter)}---\n\n{text}\n"


def _warning_list(records: Sequence[Record]) -> str:
    found = warnings_of(records)
    lines = "\n".join(f"- {markdown(text)}" for text in found)
    return f"**Warnings: do not trust the figures before you have read these.**\n\n{lines}" * (
        len(found) > 0
    )


def _note_list(records: Sequence[Record]) -> str:
    return "\n".join(f"- Note: {markdown(text)}" for text in notes_of(records))


def _body(record: Record) -> list[str]:
    rests = "\n".join(f"- **{topic}**: {markdown(text)}" for topic, text in grounds(record).items())
    command = record.header.command.strip()
    return [
        "### By radius",
        to_markdown(by_radius(record)),
        *_sets(record),
        "### By class",
        to_markdown(by_class(record)),
        "### What the figures rest on",
        rests,
        *(["### Reproduce", fenced(command)] if command else []),
    ]


def _sets(record: Record) -> list[str]:
    if not is_set_valued(record):
        return []
    tables = [to_markdown(by_certified_set(record)), to_markdown(by_set_size(record))]
    return ["### Certified sets", SETS_GUIDE, *tables]


def _result(record: Record) -> dict[str, Any]:
    data = record.header.data.name
    return {
        "task": {"type": "image-classification", "name": "Robust image classification"},
        "dataset": {"type": data, "name": data},
        "metrics": [
            {"type": kind, "name": name, "value": value} for kind, name, value in _metrics(record)
        ],
    }


def _metrics(record: Record) -> list[tuple[str, str, float]]:
    header = record.header
    found = [("accuracy", "clean accuracy", clean_accuracy(record).value)]
    for radius in header.radii:
        at = f"at {NORM_SIGNS[header.norm]} radius {header.radius_text(radius)}"
        if header.attack:
            attacked = attacked_accuracy(record, radius)
            found.append(("accuracy", f"attacked accuracy {at}", attacked.value))
        certified = certified_accuracy(record, radius)
        if certified is not None:
            found.append(("accuracy", f"certified accuracy {at}", certified.value))
    found.append(("coverage", f"coverage ({header.guarantee_text()})", coverage(record).value))
    found.append(("set_size", "mean set size", mean_set_size(record)))
    return [metric for metric in found if not math.isnan(metric[2])]


def _front_matter(matter: dict[str, Any]) -> str:
    """Write YAML as JSON values under plain keys: JSON is YAML, and needs no further package."""
    lines = []
    for key, value in matter.items():
        lines_of_json = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
        text = "\n".join(visible(line) for line in lines_of_json)  # its escapes are those of JSON
        lines.append(
            f"{key}: {text}" if isinstance(value, str) else f"{key}:\n{textwrap.indent(text, '  ')}"
        )
    return "\n".join(lines) + "\n"
