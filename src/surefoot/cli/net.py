"""Which net `surefoot train` builds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from surefoot.cli.declared import declared, real
from surefoot.cli.options import check_seeds, check_unused

if TYPE_CHECKING:
    from torch import nn

    from surefoot.data import Data
    from surefoot.models import Preprocessing
else:
    Preprocessing = declared("surefoot.models.preprocessing", "Preprocessing")

DEFAULT_WIDTH = {"resnet20": 16, "preactresnet18": 16, "liresnet": 64, "lipnext": 64}
"""Channels; the other nets take a multiplier, 1."""


@dataclass(frozen=True)
class Net:
    """The net to build.

    Args:
        net: Architecture: mlp, residual-mlp, lenet, preactresnet18, resnet20; to train by bounds
            relu-2c2f to relu-8c2f, strides in place of pooling; with measured
            Lipschitz constants lipschitz-mlp, gloro-mlp, gloro-2c2f to gloro-8c2f, liresnet,
            lipnext.
        width: Multiplier of lenet, relu-... and gloro-... (default 1), first channels of a residual
            net (default 16), channels of liresnet and lipnext (default 64).
        hidden: Widths of the hidden layers of the dense nets.
        dropout: Dropout rate of preactresnet18.
        scale: Factor on the logits of lipschitz-mlp and lipnext.
        init_seed: Seed of the initial weights.
        members: Train a deep ensemble of so many such nets, if above 1.
        draws: Take the mean over so many dropout masks, if above 0 (needs dropout).
        inducing: Put a Gaussian process with so many inducing points on features of the net, if
            above 0 (DUE; extra gp; mlp, residual-mlp or lenet).
        features: Number of these features.
        bound: Largest Lipschitz constant of the layers below a Gaussian process; below 1 for
            residual-mlp.
        preprocessing: What happens to images before the net; it is saved with it.
    """

    net: Literal[
        "mlp",
        "residual-mlp",
        "lenet",
        "preactresnet18",
        "resnet20",
        "lipschitz-mlp",
        "gloro-mlp",
        "gloro-2c2f",
        "gloro-4c3f",
        "gloro-6c2f",
        "gloro-8c2f",
        "relu-2c2f",
        "relu-4c3f",
        "relu-6c2f",
        "relu-8c2f",
        "liresnet",
        "lipnext",
    ] = "lenet"
    width: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.0
    scale: float = 4.0
    init_seed: int = 0
    members: int = 1
    draws: int = 0
    inducing: int = 0
    features: int = 32
    bound: float = 0.95
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def __post_init__(self) -> None:
        if (self.members != 1) + (self.draws != 0) + (self.inducing != 0) > 1:
            raise ValueError(
                "give one of --members, --draws and --inducing: they exclude each other"
            )
        check_seeds(self.init_seed)
        dense = self.net in ("mlp", "residual-mlp", "gloro-mlp", "lipschitz-mlp")
        check_unused(self, ["width"] if dense else ["hidden"], f"on --net {self.net}")
        if self.net != "preactresnet18":
            check_unused(self, ["dropout"], f"on --net {self.net}")
        if self.net not in ("lipschitz-mlp", "lipnext"):
            check_unused(self, ["scale"], f"on --net {self.net}")
        if not self.inducing:
            check_unused(self, ["features", "bound"], "without --inducing")

    def build(self, data: "Data") -> "nn.Module":
        """Build the net, or what is made of it, for images of this data set."""
        import torch

        from surefoot.models import build

        with torch.random.fork_rng():
            torch.manual_seed(self.init_seed)
            if self.members != 1:
                nets = [self._config(data, len(data.classes)) for _ in range(self.members)]
                return build("ensemble", nets=nets)
            if self.draws:
                inner = self._config(data, len(data.classes))
                return build("dropout-ensemble", model=inner, draws=self.draws)
            if self.inducing:
                return self._process(data)
            return build(**self._config(data, len(data.classes)))

    def _process(self, data: "Data") -> "nn.Module":
        from surefoot.models import build

        model: Any = build(
            "due",
            net=self._config(data, self.features),
            classes=len(data.classes),
            count=len(data),
            inducing=self.inducing,
            bound=self.bound,
        )
        model.place(data.inputs(slice(0, 1000)))
        return model

    def _config(self, data: "Data", classes: int) -> dict[str, Any]:
        """Return the arguments of `build` for one net."""
        images = data.inputs(slice(0, 1))
        first = real(self.preprocessing)
        for layer in first.layers():
            images = layer(images)
        shape = images.shape[1:]
        return self._bare(data, shape, classes) | {
            **({"normalize": (first.mean, first.std)} if first.mean else {}),
            **({"resize": first.size} if first.size else {}),
        }

    def _bare(self, data: "Data", shape: Sequence[int], classes: int) -> dict[str, Any]:
        """Return the same without preprocessing, for images of this shape."""
        dense = {"inputs": math.prod(shape), "hidden": self.hidden, "classes": classes}
        if self.net in ("mlp", "residual-mlp", "gloro-mlp"):
            return {"name": self.net, **dense}
        if self.net == "lipschitz-mlp":
            return {"name": self.net, **dense, "scale": self.scale}
        if len(shape) != 3:
            raise ValueError(f"--net {self.net} needs images; {data.name} holds {tuple(shape)}")
        planes = {"name": self.net, "planes": shape[0], "classes": classes}
        width = {"width": DEFAULT_WIDTH.get(self.net, 1) if self.width is None else self.width}
        if self.net == "resnet20":
            return {**planes, **width}
        if self.net == "preactresnet18":
            return {**planes, **width, "dropout": self.dropout}
        scale = {"scale": self.scale} if self.net == "lipnext" else {}
        if self.net.startswith(("gloro-", "relu-")):
            width = {"width": float(width["width"])}
        return {**planes, **width, **scale, "size": shape[-1]}
