"""Models from elsewhere: `package.module:factory` with safetensors weights, or a `.pt2` program.

No pickle is loaded unless the caller says that the file is trusted: `torch.export.load` unpickles
some members of an archive and evaluates the size expressions of its graph, so the archive is read
and judged here first.
"""

import importlib
import json
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from surefoot.models.io import load, load_weights


def open_model(
    reference: str, weights: Path | None = None, *, trust_pickle: bool = False
) -> nn.Module:
    """Open a run folder, a `.pt2` file, or `package.module:factory` (called without arguments).

    Args:
        reference: which of the three, told apart by its form.
        weights: safetensors file for the factory's model.
        trust_pickle: allow a .pt2 archive whose loading executes pickled code.
    """
    if reference.endswith(".pt2"):
        return open_program(Path(reference), trust_pickle=trust_pickle)
    if ":" in reference and not Path(reference).exists():
        model = call_factory(reference)
        if weights is not None:
            load_weights(model, weights)
        return model.eval()
    return load(Path(reference))


def call_factory(reference: str) -> nn.Module:
    """Import `package.module`, call `factory()` and return the module it makes."""
    module_name, _, name = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a factory in the working folder, as with `python -m`
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"cannot import {reference!r} ({error}); expected package.module:factory, importable"
            " from the working folder"
        ) from error
    try:
        model = factory()
    except Exception as error:  # whatever a foreign factory may raise
        raise ValueError(f"{reference}() fails: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{reference} must return a torch.nn.Module; it returned {type(model)}")
    return model


def open_program(path: Path, *, trust_pickle: bool = False) -> nn.Module:
    """Open a `torch.export` archive, refusing what would execute code, unless trusted."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .pt2 archive: expected what torch.export.save writes")
    if not trust_pickle:
        refuse_code(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(path).module()


_PLAIN = re.compile(
    r"(version|byteorder|archive_format|archive_version|\.data/.*|\.format_version|"
    r"\.storage_alignment|models/[^/]*\.json|data/(weights|constants)/[^/]*_config\.json|"
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/.*)"
)
_SIZES = re.compile(
    r"(Symbol\('[suz]\d+', positive=True, integer=True\)|L(\['\w+'\])+\.size\(\)\[\d+\]|"
    r"\b[suz]\d+\b|\b(Max|Min|FloorDiv|Mod|PythonMod|CleanDiv|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not)\b|"
    r"\b(true|false|True|False|oo|int_oo|and|or|not)\b|\b\d+(\.\d+)?\b|[\s+\-*/(),<>=!&|~])*"
)
"""What a size expression or guard may be made of: both are evaluated when the file is opened."""


def refuse_code(path: Path) -> None:
    """Raise if opening the archive would unpickle a member or evaluate more than sizes."""
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist()]
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: two members share a name; the archive was tampered with")
        for info in archive.infolist():
            member = info.filename.partition("/")[2]
            if not _PLAIN.fullmatch(member) and info.file_size > 0:
                raise _refusal(path, member)
            if member.endswith(".json") and not member.startswith("extra/"):
                _refuse_in_json(path, member, json.loads(archive.read(info)))


def _refuse_in_json(path: Path, member: str, node: Any) -> None:
    if isinstance(node, list):
        for value in node:
            _refuse_in_json(path, member, value)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        name = str(value)
        if key == "use_pickle" and value:
            raise _refusal(path, f"{member} (a pickled tensor)")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", name):
            raise _refusal(path, f"{member} (an object {name})")
        evaluated = [name] if key == "expr_str" else value if key == "guards_code" else []
        for code in evaluated:
            if not _SIZES.fullmatch(str(code)):
                raise _refusal(path, f"{member} (the expression {str(code)[:60]!r})")
        _refuse_in_json(path, member, value)


def _refusal(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path}: opening {what} would execute code from the file, which is refused. Export again"
        " without sample inputs (program.example_inputs = None before torch.export.save), or pass"
        " --trust-pickle if you trust where the file comes from."
    )
