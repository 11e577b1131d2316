"""The resumable state of a run: one safetensors file, replaced atomically, no pickle."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from surefoot.files import write_whole
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
    metadata = {"run": _identity(run), "log": json.dumps(progress.log)}
    write_whole(folder / NAME, save(whole, metadata))


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
    if metadata.get("run") != _identity(run):
        raise ValueError(
            f"{folder} holds the state of another run (other recipe, data, net, initial weights or"
            " seed), or that of another version of surefoot. Choose another folder, or delete it to"
            " start again."
        )
    _fill(progress, tensors)
    progress.log = json.loads(metadata["log"])


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


def _identity(run: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=8).hexdigest()


def _part(tensors: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _moved(tensors: Weights, device: torch.device | None) -> Weights:
    return {name: value.to(device) for name, value in tensors.items()}
