"""The resumable state of a run: one safetensors file, replaced atomically, no pickle."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from surefoot.files import write_whole
from surefoot.progress import note
from surefoot.training.weight_changes import Weights

NAME = "state.safetensors"


@dataclass
class Progress:
    """What changes while a model is trained, and must survive a kill.

    Attributes:
        model: its weights are those of the last step.
        optimizer: with its moments.
        average: moving average of the weights, if one is kept.
        best: weights of the best epoch so far, if epochs are judged.
        log: one line an epoch.
    """

    model: nn.Module
    optimizer: Any
    average: Weights | None = None
    best: Weights | None = None
    log: list[dict[str, Any]] = field(default_factory=list)


def store(folder: Path, progress: Progress, run: dict[str, Any]) -> None:
    """Write all of it."""
    parts = {
        "model": progress.model.state_dict(),
        "average": progress.average or {},
        "best": progress.best or {},
    }
    tensors = {
        f"{part}/{name}": value for part, all_ in parts.items() for name, value in all_.items()
    }
    for index, values in progress.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    # A tensor may stand under two names (the best epoch is the last): the file wants copies.
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"run": json.dumps(run), "log": json.dumps(progress.log)}
    write_whole(folder / NAME, save(whole, metadata))
    write_log(folder, progress.log)


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Write one JSON line an epoch: it grows while the run goes on."""
    lines = "".join(json.dumps(line) + "\n" for line in log)
    write_whole(folder / "log.jsonl", lines.encode())


def resume(folder: Path, progress: Progress, run: dict[str, Any]) -> None:
    """Load the state, if there is one.

    Raises:
        ValueError: the state belongs to another run, or the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start again") from error
    _check(folder, metadata, run)
    _fill(progress, tensors)
    progress.log = json.loads(metadata["log"])


def _check(folder: Path, metadata: dict[str, str], run: dict[str, Any]) -> None:
    """Raise unless the state belongs to this run; only its number of epochs may have grown."""
    try:
        stored = json.loads(metadata["run"])
        done = len(json.loads(metadata["log"]))
        before = stored["training"]["epochs"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder} holds the state of another version of surefoot. Choose another folder, or"
            " delete it to start again"
        ) from error
    wanted = json.loads(json.dumps(run))
    now = wanted["training"]["epochs"]
    stored["training"]["epochs"] = now
    if other := _differences(stored, wanted):
        shown = "; ".join(f"{name}: {old} there, {new} now" for name, old, new in other[:3])
        raise ValueError(
            f"{folder} holds the state of another run ({shown}; {len(other)} differ in all)."
            " Choose another folder, or delete it to start again"
        )
    if now < done:
        raise ValueError(
            f"{folder} has {done} epochs behind it; {now} were asked for. Ask for more, or choose"
            " another folder"
        )
    if now > before:
        note(
            f"{folder} goes on from epoch {done} of {before} to {now}, on the schedule of {now}:"
            f" not the same weights as {now} epochs in one run"
        )


def _differences(old: Any, new: Any, name: str = "") -> list[tuple[str, str, str]]:
    """Return the entries that differ, by their path, as text."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        parts = [_differences(old.get(k), new.get(k), f"{name}.{k}".lstrip(".")) for k in keys]
        return [one for part in parts for one in part]
    return [] if old == new else [(name, str(old)[:40], str(new)[:40])]


def _fill(progress: Progress, tensors: Weights) -> None:
    device = next((weight.device for weight in progress.model.parameters()), None)
    progress.model.load_state_dict(_part(tensors, "model/"))
    if progress.average is not None:
        progress.average = _moved(_part(tensors, "average/"), device)
    progress.best = _moved(_part(tensors, "best/"), device) or None
    groups = progress.optimizer.state_dict()["param_groups"]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = value
    progress.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _part(tensors: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _moved(tensors: Weights, device: torch.device | None) -> Weights:
    return {name: value.to(device) for name, value in tensors.items()}
