"""A dense net of residual blocks: with layers of Lipschitz constant below 1 it neither tears nor
collapses.

Behrmann et al. 2019: where the branch has Lipschitz constant c < 1, a block changes every distance
by a factor between 1 - c and 1 + c, so different images stay apart (Liu et al. 2020; van Amersfoort
et al. 2021).
"""

from collections.abc import Sequence

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    r"""Add the ReLU of a dense layer: $x + \mathrm{ReLU}(W x + b)$."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, width]` to the same shape."""
        return features + self.linear(features).relu()


class ResidualMLP(nn.Sequential):
    """A dense layer, residual blocks, and a dense layer.

    Args:
        inputs: pixels of an image, all planes.
        hidden: widths of the blocks, all alike.
        classes: logits.
    """

    def __init__(self, inputs: int, hidden: Sequence[int] = (128, 128), classes: int = 10) -> None:
        if len(set(hidden)) != 1:
            raise ValueError(f"blocks need equal widths, and at least one; found {tuple(hidden)}")
        blocks = [ResidualBlock(width) for width in hidden]
        last = nn.Linear(hidden[0], classes)
        super().__init__(nn.Flatten(), nn.Linear(inputs, hidden[0]), *blocks, last)
