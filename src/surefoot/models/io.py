"""Save and load: `model.safetensors` and `config.json`, never a pickle."""

import hashlib
from collections.abc import Callable, Collection
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from surefoot.files import read_json, write_json, write_whole
from surefoot.models.lenet import LeNet
from surefoot.models.lipschitz import WIDTHS, GloRoMLP, GloRoNet, LipNeXt, LipschitzMLP, LiResNet
from surefoot.models.mlp import MLP
from surefoot.models.normalize import Normalize
from surefoot.models.preactresnet import PreActResNet18
from surefoot.models.residual import ResidualMLP
from surefoot.models.resize import Resize
from surefoot.models.resnet20 import ResNet20
from surefoot.models.strided import StridedNet

NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "preactresnet18": PreActResNet18,
    "resnet20": ResNet20,
    "residual-mlp": ResidualMLP,
    "lipschitz-mlp": LipschitzMLP,
    "gloro-mlp": GloRoMLP,
    **{f"gloro-{shape}": partial(GloRoNet, shape) for shape in WIDTHS},
    **{f"relu-{shape}": partial(StridedNet, shape) for shape in WIDTHS},
    "liresnet": LiResNet,
    "lipnext": LipNeXt,
}

OF_NETS = {
    "ensemble": "surefoot.uncertainty.ensemble:Ensemble",
    "dropout-ensemble": "surefoot.uncertainty.dropout:DropoutEnsemble",
    "due": "surefoot.uncertainty.due:DUE",
    "tempered": "surefoot.uncertainty.temperature:Tempered",
}
"""Models made of nets, by where they live: next door, so they are looked up only when asked for."""


def build(name: str, *, normalize: Any = None, resize: Any = None, **arguments: Any) -> nn.Module:
    """Build a net by its name; the model remembers how, so that `save` can write it down.

    Args:
        name: one of "mlp", "lenet", "preactresnet18", "resnet20", "residual-mlp", "lipschitz-mlp",
            "gloro-mlp", "gloro-2c2f", "gloro-4c3f", "gloro-6c2f", "gloro-8c2f", the same with
            "relu-", "liresnet", "lipnext"; or, made of nets, "ensemble", "dropout-ensemble", "due",
            "tempered".
        normalize: (means, deviations) a plane: a `Normalize` layer goes first.
        resize: (height, width): a `Resize` layer goes before that.
        arguments: of the net's constructor; a net inside a model is given as the arguments of its
            own `build`, with its name.
    """
    if not isinstance(name, str) or name not in NETS | OF_NETS:
        raise ValueError(f"`name` must be one of {', '.join(NETS | OF_NETS)}; found {name!r}")
    first = {"normalize": normalize, "resize": resize}
    first = {key: value for key, value in first.items() if value is not None}
    if first and name in OF_NETS:
        raise ValueError(
            f"give `{next(iter(first))}` to the nets inside {name!r}, not to the whole"
        )
    try:
        parts = {key: _built(value) for key, value in arguments.items()}
        net: nn.Module = _maker(name)(**parts)
        if first:
            layers = [] if resize is None else [Resize(tuple(resize))]
            layers += [] if normalize is None else [Normalize(*normalize)]
            net = nn.Sequential(*layers, net)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # arguments of a wrong type fail wherever they are used first
        raise ValueError(
            f"the net {name!r} does not take these arguments: {type(error).__name__}: {error}"
        ) from error
    net.config = {"name": name, **arguments, **first}  # pyright: ignore[reportArgumentType]
    return net


def _maker(name: str) -> Callable[..., nn.Module]:
    if name in NETS:
        return NETS[name]
    module, _, found = OF_NETS[name].partition(":")
    return getattr(import_module(module), found)


def _built(value: Any) -> Any:
    """Build a net from its configuration, or several from a list of them; pass on anything else."""
    if isinstance(value, dict):
        return build(**value)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [build(**one) for one in value]
    return value


def save(model: nn.Module, folder: Path | str, **more: Any) -> None:
    """Write `model.safetensors` and `config.json` into the folder, each all or nothing.

    Args:
        model: a module; one made by `build` can be loaded from the folder alone.
        folder: made if missing.
        more: further JSON entries of the configuration (recipe, data, versions).
    """
    folder = Path(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_whole(folder / "model.safetensors", to_bytes(weights))
    write_json({"model": getattr(model, "config", None), **more}, folder / "config.json")


def load(folder: Path | str) -> nn.Module:
    """Read back what `save` wrote, in eval mode."""
    folder = Path(folder)
    config = read_config(folder)
    if config.get("model") is None:
        raise ValueError(
            f"{folder / 'config.json'} does not say how to build the net: it was not made by"
            " models.build. Load it with package.module:factory and its weights instead."
        )
    arguments = config["model"]
    if not isinstance(arguments, dict) or not isinstance(arguments.get("name"), str):
        raise ValueError(
            f"{folder / 'config.json'} does not name a net: expected `model` to be an object with"
            f" the name of a net; found {str(arguments)[:80]}. The file is damaged, or not ours."
        )
    try:
        model = build(**arguments)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    load_weights(model, folder / "model.safetensors")
    return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a run folder."""
    path = folder / "config.json"
    try:
        config = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{folder} is not a run folder: expected config.json and model.safetensors in it."
            " Train a model with `surefoot train`, or give package.module:factory."
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object; found {type(config).__name__}")
    return config


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Load a safetensors file into the model; names and shapes must match."""
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"no weights at {path}: expected a safetensors file") from error
    except Exception as error:  # safetensors raises its own class, made in Rust
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        model.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        problem = _mismatch(model.state_dict(), weights, path) or " ".join(str(error).split())
        raise ValueError(f"the weights in {path} do not fit the net: {problem}") from error


def names_in_short(names: Collection[str]) -> str:
    """Return the first three names, and how many there are."""
    first = ", ".join(list(names)[:3])
    return first if len(names) <= 3 else f"{first}, ... ({len(names)} in all)"


def _mismatch(wanted: dict[str, Tensor], found: dict[str, Tensor], path: Path | str) -> str:
    """Describe how weights differ from those of the net, and the likely cause; "" if they do not.

    Args:
        wanted: weights of the net.
        found: weights of the file.
        path: of the file.
    """
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    shapes = [
        f"{name} (net {_shape(wanted[name])}, file {_shape(found[name])})"
        for name in wanted
        if name in found and wanted[name].shape != found[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    parts = [f"{len(of)} {kind}: {names_in_short(of)}" for kind, of in kinds.items() if of]
    if not parts:
        return ""
    return f"{'; '.join(parts)}. {_cause(wanted, found, path)}"


def _cause(wanted: dict[str, Tensor], found: dict[str, Tensor], path: Path | str) -> str:
    """Return the likely cause of a mismatch, and what to do about it."""
    renamed = "{%s: value for name, value in safetensors.torch.load_file(%r).items()}"
    write = "write them once more: safetensors.torch.save_file(%s, 'renamed.safetensors')"
    prefix = next(iter(found), "").partition(".")[0] + "."
    if all(name.startswith(prefix) for name in found) and any(
        name.removeprefix(prefix) in wanted for name in found
    ):
        names = f"name.removeprefix({prefix!r})"
        return f"All names in the file begin with {prefix!r}, as a wrapper of the net leaves" + (
            f" them (DataParallel, torch.compile, a training class); {write}"
            % (renamed % (names, str(path)))
        )
    for own in dict.fromkeys(name.partition(".")[0] + "." for name in wanted):
        if all(own + name in wanted for name in found):
            names = f"{own!r} + name"
            return f"The net holds the one of the file as its part {own!r}; {write}" % (
                renamed % (names, str(path))
            )
    if found.keys() == wanted.keys():
        return "The same net with other sizes (width, number of classes, planes): build that one"
    return (
        "They are of another net, or of another version of it: let the factory build the net the"
        " weights were saved from"
    )


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def fingerprint(model: nn.Module) -> str:
    """Hash names and values of all weights and buffers: 16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
