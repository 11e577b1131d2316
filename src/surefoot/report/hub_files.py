"""Files for the Hugging Face Hub: a model card, and `.eval_results`; nothing goes online."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.evaluation.header import SmoothingPart
from surefoot.evaluation.metrics import (
    attacked_accuracy,
    certified_accuracy,
    clean_accuracy,
    coverage,
    mean_set_size,
)
from surefoot.evaluation.record import Record
from surefoot.files import write_whole
from surefoot.report.card import model_card
from surefoot.wording import NONE, with_interval

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

ON_THE_HUB = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
}
"""Named data sets by their names there."""


def write_hub_files(record: Record, folder: Path, dataset: str = "") -> tuple[Path, str]:
    """Write `hub/README.md`, and `hub/.eval_results/surefoot.yaml` where the figures are results.

    Args:
        record: of a whole run.
        folder: that receives `hub`.
        dataset: `owner/name` of the data on the Hub; "" where the record knows.

    Returns:
        the folder, and why there are no `.eval_results`; "" where there are.

    Raises:
        ValueError: the record is of a part of a run.
        ImportError: huggingface_hub is too old.
    """
    import yaml

    try:
        from huggingface_hub import ModelCard, eval_result_entries_to_yaml
        from huggingface_hub.constants import EVAL_RESULTS_FOLDER
    except ImportError as error:
        raise ImportError(
            f"--format hub needs a newer huggingface_hub ({error}). Install it with: pip install"
            " 'surefoot[hf]'"
        ) from error
    if record.header.shard is not None:
        raise ValueError(
            f"{record.header.name} is a part of a run: merge all shards before it is published"
        )
    target, dataset = folder / "hub", dataset or _dataset(record.header.data.name)
    card = ModelCard(model_card(record))  # raises where its front matter is not what the Hub reads
    write_whole(target / "README.md", str(card).encode())
    path = target / EVAL_RESULTS_FOLDER / "surefoot.yaml"
    if why := _unfit(record, dataset):
        path.unlink(missing_ok=True)
        return target, why
    entries = eval_result_entries_to_yaml(_entries(record, dataset))
    write_whole(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True).encode())
    return target, ""


def _dataset(name: str) -> str:
    """Return the name of the data on the Hub; "" where it is not known."""
    found = re.fullmatch(r"(?:hf:)?([\w.-]+/[\w.-]+)", name)
    return found[1] if found else ON_THE_HUB.get(name, "")


def _unfit(record: Record, dataset: str) -> str:
    """Return why the figures of a record are no results to publish."""
    if record.header.warnings:
        return f"the record has warnings, the first: {record.header.warnings[0]}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        return "the data have no name on the Hub: give --hub-dataset owner/name"
    return ""


def _entries(record: Record, dataset: str) -> "list[EvalResultEntry]":
    """Return one entry a metric, its interval and what it rests on in the notes."""
    from huggingface_hub import EvalResultEntry

    header, eps = record.header, record.header.eps
    found = {
        "clean_accuracy": clean_accuracy(record),
        "attacked_accuracy": attacked_accuracy(record, eps) if header.attack else None,
        "certified_accuracy": certified_accuracy(record, eps),
    }
    meaning = {
        "clean_accuracy": f"{header.guarantee.title} without perturbation",
        "attacked_accuracy": f"{header.guarantee_text()}, an upper bound of robust accuracy",
        "certified_accuracy": f"{header.guarantee_text()}, a lower bound of robust accuracy",
    }
    if isinstance(header.certificate, SmoothingPart):
        alpha = header.certificate.alpha
        meaning["certified_accuracy"] += f", false for an image with probability {alpha:g} at most"
    price = f"coverage {with_interval(coverage(record))}"
    if header.guarantee.counts_rejection_as_right:
        price += ", rejected images count as right"
    if header.guarantee.set_valued and (size := mean_set_size(record)) == size:
        price += f", mean set size {size:.2f}"
    rests = f"of {len(record)} images; {price}; surefoot {header.versions.get('surefoot', NONE)}"
    return [
        EvalResultEntry(
            dataset,
            name,
            round(value.value, 6),
            notes=f"{meaning[name]}; {with_interval(value)} (95 %) {rests}",
        )
        for name, value in found.items()
        if value is not None
    ]
