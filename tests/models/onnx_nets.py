"""Twenty nets of all kinds of classifiers, for the ONNX importer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from surefoot.models import build


class Inception(nn.Module):
    """Branches that are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.head = nn.MaxPool2d(3, 1, 1), nn.Linear(11, 5)

    def forward(self, images: Tensor) -> Tensor:
        joined = torch.cat([self.one(images), self.three(images), self.pool(images)], 1)
        return self.head(joined.relu().mean((2, 3)))


class Depthwise(nn.Sequential):
    """Grouped, dilated and strided convolutions with batch normalisation."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU6(),
            nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
            nn.Hardswish(),
            nn.Conv2d(6, 8, 1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )


class View(nn.Module):
    """A reshape by the size of the batch, as older code writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.conv(images), 0.1)
        return self.head(hidden.view(hidden.size(0), -1))


class Block(nn.Module):
    """A transformer block over patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.norm, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        batch, count, width = tokens.shape
        split = self.qkv(self.norm(tokens)).reshape(batch, count, 3, 2, width // 2)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * (width // 2) ** -0.5).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.wide(self.second(tokens))
        return self.head(tokens.mean(1))


class Mixed(nn.Module):
    """Slices, splits, padding, resizing, arithmetic with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 5)
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = (images - self.mean) / 0.5 * 2
        first, second = images[:, :2], images[:, 1:]
        larger = functional.interpolate(first + second, scale_factor=2, mode="nearest")
        padded = functional.pad(larger, (1, 2, 0, 1))
        left, right = self.conv(padded).split([2, 2], 1)
        joined = torch.cat([left.sigmoid(), right.tanh().clamp(-0.5, 0.5)], 1)
        return self.head(joined.abs().amax((2, 3)) - joined.mean((2, 3)).exp().sqrt())


class Signal(nn.Sequential):
    """A 1-D convolutional net."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(1, 4, 5, 2, 2),
            nn.BatchNorm1d(4),
            nn.ELU(),
            nn.MaxPool1d(2),
            nn.Conv1d(4, 8, 3, padding=1),
            nn.PReLU(8),
            nn.AvgPool1d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(32, 5),
        )


class Residual(nn.Module):
    """A residual block with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.second, self.short = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(3, 4, 1, 2)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = (self.second(self.first(images)) + self.short(images)).relu()
        return self.head(functional.adaptive_avg_pool2d(hidden, 1).flatten(1))


class Probabilities(nn.Sequential):
    """A net that ends in a softmax."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.Softplus(), nn.Linear(8, 5))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


def dense(*activations: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, 12)]
    for one in activations:
        layers += [one, nn.Linear(12, 12)]
    return nn.Sequential(*layers)


Make = Callable[[], nn.Module]
NETS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "dense": (lambda: dense(nn.ReLU()), (1, 8, 8)),
    "smooth": (lambda: dense(nn.Tanh(), nn.Sigmoid()), (1, 8, 8)),
    "gelu": (lambda: dense(nn.GELU(), nn.SELU()), (1, 8, 8)),
    "tanh-gelu": (lambda: dense(nn.GELU("tanh")), (1, 8, 8)),
    "features": (lambda: nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 5)), (7,)),
    "batch-norm": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 5)),
        (7,),
    ),
    "layer-norm": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 5)),
        (7,),
    ),
    "lenet": (lambda: build("lenet"), (1, 28, 28)),
    "plain-convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(6, 5),
        ),
        (3, 8, 8),
    ),
    "residual": (Residual, (3, 8, 8)),
    "resnet20": (lambda: build("resnet20"), (3, 32, 32)),
    "preactresnet18": (lambda: build("preactresnet18", width=4), (3, 32, 32)),
    "inception": (Inception, (3, 8, 8)),
    "depthwise": (Depthwise, (3, 16, 16)),
    "view": (View, (1, 8, 8)),
    "signal": (Signal, (1, 32)),
    "transformer-block": (Block, (3, 16, 16)),
    "mixed": (Mixed, (3, 8, 8)),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, 2, 1, 1),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, stride=2),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        ),
        (3, 8, 8),
    ),
    "volume": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 5)
        ),
        (1, 5, 5, 5),
    ),
}
