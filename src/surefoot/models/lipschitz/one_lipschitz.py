"""Layers without weights: none of them moves two inputs further apart, but for `Scale`."""

import torch
from torch import Tensor, nn


class MinMax(nn.Module):
    """Sort each pair of neighbouring features, or channels of an image.

    1-Lipschitz: wherever the order holds still it is a permutation, so it also keeps the norm of
    the gradient.

    Reference: Anil, Lucas, Grosse 2019.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, F]` or `[B, F, H, W]`, F even, to the same shape."""
        one, other = features.unflatten(1, (-1, 2)).unbind(2)
        return torch.stack([torch.minimum(one, other), torch.maximum(one, other)], 2).flatten(1, 2)


class Scale(nn.Module):
    """Multiply by a fixed factor: the inverse temperature of the softmax that follows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        """Scale every feature."""
        return self.factor * features


class BetaAbs(nn.Module):
    """Take the absolute value of the first channels, and leave the others.

    1-Lipschitz: each channel is, and no channel looks at another; Lipschitz constants are 1 or -1.

    Args:
        fraction: of the channels that are folded, in [0, 1].
    """

    def __init__(self, fraction: float = 0.5) -> None:
        super().__init__()
        if not 0 <= fraction <= 1:
            raise ValueError(f"`fraction` must lie in [0, 1]; found {fraction}")
        self.fraction = fraction

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, F, ...]` to the same shape."""
        count = round(self.fraction * features.shape[1])
        return torch.cat([features[:, :count].abs(), features[:, count:]], 1)


class Shift(nn.Module):
    """Move four groups of channels by one pixel each: down, up, right, left; the rest stays.

    What leaves on one side comes in on the other: a permutation of pixels, so an isometry.
    With a mixing of channels between, neighbouring pixels meet without any convolution.

    Args:
        fraction: of the channels in each group, at most a quarter.
    """

    def __init__(self, fraction: float = 0.125) -> None:
        super().__init__()
        if not 0 < fraction <= 0.25:
            raise ValueError(f"`fraction` must lie in (0, 0.25]; found {fraction}")
        self.fraction = fraction

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, F, H, W]` to the same shape."""
        count = max(int(self.fraction * features.shape[1]), 1)
        down, up, right, left, rest = features.tensor_split([count * n for n in (1, 2, 3, 4)], 1)
        moved = [down.roll(1, 2), up.roll(-1, 2), right.roll(1, 3), left.roll(-1, 3)]
        return torch.cat([*moved, rest], 1)


class NormPool(nn.Module):
    """Pool each channel to its l2 norm over the image.

    1-Lipschitz: a norm changes by at most the norm of the change, channel by channel. A mean over
    n pixels has Lipschitz constant 1 / sqrt(n) and would lose that much of the margin.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, F, H, W]` to `[B, F]`."""
        return torch.linalg.vector_norm(features, dim=(2, 3))
