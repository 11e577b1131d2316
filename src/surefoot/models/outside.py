"""Models from elsewhere: ONNX, a factory with safetensors weights, or a file that is code.

Loading a `.pt2` or TorchScript file executes what its author put there, and no inspection of the
file can rule that out. So both are opened only where the caller trusts the file.
"""

import importlib
import importlib.util
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from surefoot.models.estimator import Function, from_estimator
from surefoot.models.hugging_face import PREFIX, from_hugging_face, is_hugging_face
from surefoot.models.io import load, load_weights
from surefoot.models.onnx_import import read_onnx
from surefoot.models.preprocessing import Preprocessing

PROGRAMS = (".pt2",)
SCRIPTS = (".ts", ".torchscript")
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
FORMS = (
    "a run folder of `surefoot train`, an ONNX file, a Hugging Face image classifier (folder or"
    " hf:owner/name), or package.module:factory or file.py:factory (--weights FILE.safetensors)"
)


def open_model(
    reference: str | Path,
    weights: Path | str | None = None,
    *,
    trust_code: bool = False,
    preprocessing: Preprocessing | None = None,
) -> nn.Module:
    """Open a run folder, an ONNX file, a Hugging Face model, a factory, or a file of code.

    Args:
        reference: which of these, told apart by its form: a folder, of `surefoot train` or of
            transformers; `hf:owner/name`; `net.onnx`, of which nothing is executed;
            `package.module:factory` or `FILE.py:factory` (called without arguments; it returns a
            module, a scikit-learn estimator or a function); files of code are `.pt2`
            (torch.export), and TorchScript as `.ts`, `.torchscript`, `.pt` or `.pth`.
        weights: safetensors file for the factory's model.
        trust_code: execute the code that a `.pt2` or TorchScript file holds.
        preprocessing: layers that go first; of a Hugging Face model each part that is given
            replaces that of its image processor.

    Raises:
        ValueError: the reference is none of these or cannot be opened, a file of code is not
            trusted, `weights` is given to anything but a factory, or `preprocessing` to a run
            folder.
    """
    text, path = str(reference), Path(reference)
    first = preprocessing or Preprocessing()
    hub = text.startswith(PREFIX) and not path.exists()
    if ":" in text and not path.exists() and not hub:
        model = call_factory(text)
        if weights is not None:
            load_weights(model, weights)
        return first.before(model).eval()
    if weights is not None:
        raise ValueError(
            f"--weights {weights} is for package.module:factory; {text} brings its own weights."
            " Leave --weights out."
        )
    if hub or is_hugging_face(path):
        return from_hugging_face(text, preprocessing=first)
    if path.is_dir():
        if first.layers():
            raise ValueError(
                f"{path} is a run folder, which holds its own preprocessing: leave out --mean,"
                " --std and --resize, or give them to `surefoot train`"
            )
        return load(path)
    model = _open_file(path, trust_code=trust_code)
    return first.before(model)


def call_factory(reference: str) -> nn.Module:
    """Import a module or run a Python file, call its factory, return what it makes as a module."""
    module_name, _, name = reference.rpartition(":")
    try:
        factory = getattr(_imported(module_name), name)
    except Exception as error:  # whatever a foreign module may raise while it is imported
        raise ValueError(
            f"cannot import {reference!r} ({type(error).__name__}: {error}); expected"
            " package.module:factory, importable from the working folder, or file.py:factory"
        ) from error
    try:
        model = factory()
    except Exception as error:  # whatever a foreign factory may raise
        raise ValueError(f"{reference}() fails: {type(error).__name__}: {error}") from error
    if isinstance(model, nn.Module):
        return model
    if hasattr(model, "predict_proba"):
        return from_estimator(model)
    if not callable(model):
        raise ValueError(
            f"{reference} must return a torch.nn.Module, a scikit-learn estimator or a function"
            f" from images to logits; it returned a {type(model).__name__}"
            + (": end it with `return net`" if model is None else "")
        )
    return Function(model)


def _imported(name: str) -> ModuleType:
    """Import a module by its name, or a Python file by its path."""
    if name.endswith(".py"):
        path = Path(name).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise ValueError(f"there is no Python file {name}")
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))  # modules beside it, as with `python file`
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)  # for what looks its own module up
        spec.loader.exec_module(module)
        return module
    if "" not in sys.path:
        sys.path.insert(0, "")  # a factory in the working folder, as with `python -m`
    return importlib.import_module(name)


def _open_file(path: Path, *, trust_code: bool) -> nn.Module:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"there is no model {path}: expected {FORMS}")
    if suffix == ".onnx":
        return read_onnx(path)
    if suffix == ".safetensors":
        raise ValueError(
            f"{path} holds weights alone, not the net they belong to: give --model"
            f" package.module:factory --weights {path}"
        )
    if suffix in PROGRAMS:
        return _execute(path, lambda: _exported(path), trust_code=trust_code)
    if suffix in SCRIPTS or (suffix in CHECKPOINTS and _is_script(path)):
        return _execute(path, lambda: torch.jit.load(path).eval(), trust_code=trust_code)
    if suffix in CHECKPOINTS:
        raise ValueError(_checkpoint(path))
    raise ValueError(f"{path} is no model file: expected {FORMS}, or a .pt2 or TorchScript file")


def _execute(path: Path, opened: Callable[[], nn.Module], *, trust_code: bool) -> nn.Module:
    """Open a file whose loading executes code; raise unless the caller trusts it."""
    if not trust_code:
        raise ValueError(
            f"{path}: loading a .pt2 or TorchScript file executes code from the file. Pass"
            " --trust-code (open_model(..., trust_code=True)) if you trust where it comes from;"
            f" the safe forms are {FORMS}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return opened()
    except Exception as error:  # a damaged file raises whatever torch's readers raise
        raise ValueError(
            f"{path} cannot be opened ({type(error).__name__}: {error}); expected what"
            " torch.export.save (.pt2) or torch.jit.save (.ts, .pt) writes with this version of"
            " torch"
        ) from error


def _exported(path: Path) -> nn.Module:
    """Load an exported program; its mode was fixed by the export, whatever the flags say."""
    program = torch.export.load(path).module()
    for part in program.modules():
        part.training = False
    return program


def _is_script(path: Path) -> bool:
    """Tell a TorchScript archive from a checkpoint; only the message hangs on it."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _checkpoint(path: Path) -> str:
    """Describe how to turn a checkpoint into weights that are safe to open."""
    target = path.with_suffix(".safetensors").name
    return (
        f"{path} is a pickled checkpoint; it is not opened, for unpickling executes code from the"
        f" file. Write its weights once as safetensors: state = torch.load({str(path)!r},"
        " weights_only=True); safetensors.torch.save_file({name: value.clone().contiguous() for"
        f" name, value in state.items()}}, {target!r}). Where the file holds the whole net and you"
        f" trust it: state = torch.load({str(path)!r}, weights_only=False).state_dict(). Then give"
        f" --model package.module:factory --weights {target}, the factory making the net."
    )
