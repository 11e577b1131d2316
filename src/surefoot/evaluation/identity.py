"""Which question stored rows answer: settings, model and images, in one hash.

Weights alone do not tell a model: thresholds, factors and clamps are plain attributes. So a store
is identified by all that was asked for (`identity`) AND by the outcomes of all rows (`store`).
"""

import hashlib
import json
import uuid
import warnings
from types import CellType
from typing import Any

import joblib
import torch
from torch import Tensor, nn

from surefoot.data import Data
from surefoot.models.border import outcomes_of
from surefoot.models.frozen import device_of, frozen
from surefoot.models.io import fingerprint
from surefoot.streams import keys, own_randomness
from surefoot.types import Model

BATCH = 250
UNLIKE = "unlike"
"""How the text of something begins that cannot be hashed: its model is like no other."""


def identity(asked: dict[str, Any]) -> str:
    """Hash all that decides the rows."""
    text = json.dumps(asked, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def identity_of(model: Model, data: Data) -> dict[str, Any]:
    """Return what tells a model from another: weights, configuration, attributes.

    Attributes are the numbers, strings and flags of every module (thresholds, factors), by name,
    without those that a pass changes (counters). They matter too where the outcomes of these rows
    are the same: a quantiser whose grid the data lie on.
    """
    config = getattr(model, "config", None)
    ours = isinstance(config, dict) and all(isinstance(key, str) for key in config)
    before = _attributes(model)
    outcomes_of_all(model, data.first(min(8, len(data))))
    after = _attributes(model)
    kept = sorted(
        key for key, value in before.items() if after.get(key) == value or value[:6] == UNLIKE
    )
    text = json.dumps([[key, before[key]] for key in kept])
    return {
        "hash": fingerprint(model) if isinstance(model, nn.Module) else None,
        "config": json.loads(json.dumps(config, default=_kind)) if ours else None,
        "attributes": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    }


def outcomes_of_all(model: Model, data: Data) -> Tensor:
    """Run a model on every row, `[N, O]` float32 on the CPU; a random model with fixed streams."""
    parts, device = [], device_of(model)
    with torch.no_grad(), frozen(model), own_randomness(0):
        for first in range(0, len(data), BATCH):
            images = data.inputs(slice(first, first + BATCH))
            parts.append(outcomes_of(model, images.to(device)).float().cpu())
    return torch.cat(parts)


def repeats(data: Data) -> list[int]:
    """List the rows whose image is that of an earlier row: they share noise and certificate."""
    seen: set[int] = set()
    found = []
    for first in range(0, len(data), BATCH):
        images = data.inputs(slice(first, first + BATCH))
        for place, key in enumerate(keys(images), first):
            if key in seen:
                found.append(place)
            seen.add(key)
    return found


def _kind(value: object) -> str:
    return type(value).__name__  # its text may hold an address, which changes


def _attributes(model: Model) -> dict[str, str]:
    """Return the plain values of every module, or of a function, as text."""
    if isinstance(model, nn.Module):
        parts: dict[str, Any] = dict(model.named_modules())
    else:
        parts = {"": model}
    found = {}
    for place, part in parts.items():
        found[place] = f"{type(part).__module__}.{type(part).__qualname__}"
        values = {
            name: value for name, value in getattr(part, "__dict__", {}).items() if name[:1] != "_"
        }
        code, cells = getattr(part, "__code__", None), getattr(part, "__closure__", None) or ()
        if code is not None:
            values["code"] = code.co_code.hex()
            values |= {f"constant {i}": one for i, one in enumerate(code.co_consts)}
            values |= {f"closure {i}": _content(one) for i, one in enumerate(cells)}
        for name, value in values.items():
            if name != "training" and not isinstance(value, nn.Module):
                found[f"{place}.{name}"] = repr(value) if _plain(value) else _hashed(value)
    return found


def _hashed(value: object) -> str:
    """Hash a tensor, an array, a dict, an estimator; what cannot be hashed is never the same."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(joblib.hash(value))
    except Exception:  # whatever a foreign object may raise when it is taken apart
        code = getattr(value, "__code__", None)
        return code.co_code.hex() if code is not None else UNLIKE + uuid.uuid4().hex


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
