"""Whether rows in a folder are those of this model and these images.

Weights alone do not tell a model: thresholds, factors and clamps are plain attributes. So an
evaluation is identified by its header (`identity`) AND by the outcomes of all rows, compared with
the stored ones to a tolerance, because another machine may go on with the work.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from surefoot.data import Data
from surefoot.files import write_whole
from surefoot.models.border import LOWEST, outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.streams import keys, own_randomness
from surefoot.types import Model

TOLERANCE = 1e-4
"""Relative to the outcomes: by how much those of one model may differ between machines."""
BATCH = 250
FILE = "outcomes.safetensors"
NOT_IDENTITY = ("name", "command", "warnings", "versions", "seconds")
"""Entries of a header that decide no row."""


def identity(header: dict[str, Any]) -> str:
    """Hash everything of a header that decides the rows."""
    kept = {name: value for name, value in header.items() if name not in NOT_IDENTITY}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def outcomes_of_all(model: Model, data: Data) -> Tensor:
    """Run a model on every row, `[N, O]` float32 on the CPU; a random model with fixed streams."""
    parts, device = [], device_of(model)
    with torch.no_grad(), frozen(model), own_randomness(0):
        for first in range(0, len(data), BATCH):
            images, _ = data.batch(slice(first, first + BATCH))
            parts.append(outcomes_of(model, images.to(device)).float().cpu())
    return torch.cat(parts)


def keep_outcomes(folder: Path, outcomes: dict[str, Tensor]) -> None:
    """Write outcomes, by name of the data, into a folder."""
    tensors = {name: value.contiguous() for name, value in outcomes.items()}
    write_whole(folder / FILE, save(tensors))


def same_outcomes(folder: Path, outcomes: dict[str, Tensor]) -> bool:
    """Return whether the folder holds these outcomes, to `TOLERANCE`."""
    try:
        stored = load_file(folder / FILE)
    except (FileNotFoundError, SafetensorError):
        return False
    return stored.keys() == outcomes.keys() and all(
        _alike(stored[name], value) for name, value in outcomes.items()
    )


def repeats(data: Data) -> list[int]:
    """List the rows whose image is that of an earlier row: they share its noise and its claim."""
    seen: set[int] = set()
    found = []
    for first in range(0, len(data), BATCH):
        images, _ = data.batch(slice(first, first + BATCH))
        for place, key in enumerate(keys(images), first):
            if key in seen:
                found.append(place)
            seen.add(key)
    return found


def _alike(stored: Tensor, now: Tensor) -> bool:
    if stored.shape != now.shape:
        return False
    usual = stored[stored.isfinite() & (stored > LOWEST / 2)].abs()
    size = usual.mean().item() if usual.numel() else 0.0
    return torch.allclose(
        stored, now, rtol=TOLERANCE, atol=TOLERANCE * size + 1e-12, equal_nan=True
    )
