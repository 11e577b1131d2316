"""Public instances of VNN-COMP 2021: verdicts beside the published ones, and CPU seconds, 1 thread.

    python benchmarks/verify.py --only acasxu maxpool avgpool SIGMOID relu

Reads $SUREFOOT_DATA/verification/instances.csv. Counterexamples count only where onnxruntime
confirms them. An instance is agreed on if the published verdict is the same, contradicted if it is
the opposite one of all tools; disputed and unknown ones have none. Rows go to
results/verify.jsonl as they come; instances that are there already are left out.
"""

import csv
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import rows
import torch
import tyro

from surefoot.models.onnx_import import read_onnx
from surefoot.verification import read_vnnlib, runtime_of, verify


@dataclass(frozen=True)
class Options:
    """What is verified.

    Args:
        only: parts of names of nets, in this order.
        seconds: of CPU, an instance; the wall clock may take `patience` times as long.
        patience: how busy the machine is.
        again: verify instances whose rows say unknown once more.
    """

    only: tuple[str, ...] = ("ACASXU", "maxpool", "avgpool", "SIGMOID", "relu")
    seconds: float = 60.0
    patience: float = 1.0
    again: bool = False


def verified(options: Options, folder: Path, instance: dict[str, str]) -> dict:
    """Verify one instance; return its row."""
    model, path = read_onnx(folder / instance["net"]), folder / instance["net"]
    began, wall = time.process_time(), time.monotonic()
    specification = read_vnnlib(folder / f"{instance['spec']}.gz")
    found = verify(
        model,
        specification,
        model.input_shape,
        seconds=options.seconds * options.patience,
        confirm=runtime_of(path),
    )
    row = {key: instance[key] for key in ("benchmark", "net", "spec")}
    row |= {"published": instance["verdict"], "answer": found.answer, "by": found.by}
    row |= {"parts": found.parts, "cpu seconds": round(time.process_time() - began, 2)}
    return row | {"wall seconds": round(time.monotonic() - wall, 2), "limit": options.seconds}


def stored(again: bool) -> set[tuple[str, str]]:
    """Return which instances have a row, of those to be verified again: a decided one."""
    path = rows.FOLDER / "verify.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = (one for one in map(json.loads, lines) if not again or one["answer"] != "unknown")
    return {(one["net"], one["spec"]) for one in found}


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    torch.set_num_threads(1)
    home = Path(os.environ["SUREFOOT_DATA"]) / "verification"
    with (home / "instances.csv").open() as file:
        listed = list(csv.DictReader(file))
    # What published tools decided fast comes first; "nan": none did.
    listed.sort(key=lambda one: float(one["fastest_s"].replace("nan", "inf")))
    done = stored(chosen.again)
    for part in chosen.only:
        for one in listed:
            if part not in one["net"] or (one["net"], one["spec"]) in done:
                continue
            row = verified(chosen, home, one)
            rows.append("verify", row)
            print(
                f"{one['net'][:24]:24} {one['spec'][:36]:36} published {one['verdict']:28}"
                f" {row['answer']:8} {row['by']:16} {row['parts']:6} parts"
                f" {row['cpu seconds']:6.1f} CPU s",
                flush=True,
            )
