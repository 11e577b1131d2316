"""Rows of results: one JSON line each, with versions, so that a figure can be traced."""

import json
import platform
from pathlib import Path

import torch

from surefoot import __version__

FOLDER = Path(__file__).parent / "results"


def append(benchmark: str, row: dict) -> None:
    """Add a row to `results/<benchmark>.jsonl`."""
    FOLDER.mkdir(exist_ok=True)
    versions = {"surefoot": __version__, "torch": torch.__version__}
    row = {"benchmark": benchmark, **row, "versions": versions, "machine": platform.machine()}
    with (FOLDER / f"{benchmark}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
