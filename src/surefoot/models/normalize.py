"""Normalisation as the first layer, so that eps and radii stay in pixel units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    r"""Subtract a mean and divide by a deviation for each image plane, or feature.

    $$ x \mapsto (x - \mu) / s $$
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(deviation) or not all(value > 0 for value in deviation):
            raise ValueError(
                f"Normalize needs one mean and one deviation > 0 a plane; found {mean}, {deviation}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images `[B, P, H, W]`, or `[B, P, ...]`; other planes are an error."""
        if images.ndim < 2 or images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"Normalize has {self.mean.shape[1]} planes; found images {tuple(images.shape)}"
            )
        if images.ndim == 4:
            return (images - self.mean) / self.deviation
        shape = (1, -1, *[1] * (images.ndim - 2))
        return (images - self.mean.view(shape)) / self.deviation.view(shape)
