"""The resumable state of a run: one safetensors file, replaced atomically, no pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from surefoot.files import write_whole
from surefoot.models.io import fingerprint

NAME = "state.safetensors"
Log = list[dict[str, Any]]


def store(folder: Path, model: nn.Module, optimizer: Any, run: dict[str, Any], log: Log) -> None:
    """Write weights, optimiser and log so far."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"run": _identity(run), "log": json.dumps(log)}
    write_whole(folder / NAME, save(whole, metadata))


def resume(folder: Path, model: nn.Module, optimizer: Any, run: dict[str, Any]) -> Log:
    """Load the state, if there is one, into model and optimiser; return the log so far.

    Raises:
        ValueError: the state belongs to another run, or the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start again") from error
    if metadata.get("run") != _identity(run):
        raise ValueError(
            f"{folder} holds the state of another run (other recipe, data, net, initial weights or"
            " seed). Choose another folder, or delete it to start again."
        )
    model.load_state_dict(_part(tensors, "model/"))
    groups = optimizer.state_dict()["param_groups"]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return json.loads(metadata["log"])


def start_of(model: nn.Module) -> str:
    """Identify the initial weights."""
    return fingerprint(model)


def _identity(run: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=8).hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
