"""A plain multi-layer perceptron on flattened images."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Linear and ReLU in turn, the last layer without ReLU.

    Args:
        inputs: pixels of an image, all planes.
        hidden: widths of the hidden layers.
        classes: logits.
    """

    def __init__(self, inputs: int, hidden: Sequence[int] = (128, 128), classes: int = 10) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear([inputs, *hidden][-1], classes))
