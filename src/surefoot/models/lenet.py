"""LeNet with a width multiplier: the small convolutional net of the UDP experiments."""

import torch
from torch import nn


class LeNet(nn.Sequential):
    """Two 5x5 convolutions with max pooling and three dense layers: 6, 16, 120, 84 at width 1.

    The first convolution is padded so that 28 x 28 images give the classic 16 x 5 x 5 features;
    other image sizes change the first dense layer only. The multiplier widens the two convolutions
    and the first dense layer.

    Args:
        planes: image planes.
        size: height and width of the images, at least 8.
        classes: logits.
        width: multiplier of 6, 16 and 120.

    Reference: LeCun et al. 1998; widths as in Pagliardini et al. 2022, Appendix F.
    """

    def __init__(self, planes: int = 1, size: int = 28, classes: int = 10, width: int = 1) -> None:
        if size < 8:
            raise ValueError(f"LeNet needs images of at least 8 x 8; found {size} x {size}")
        convolutions = nn.Sequential(
            nn.Conv2d(planes, 6 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6 * width, 16 * width, 5, padding=0 if size >= 14 else 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        features = convolutions(torch.zeros(1, planes, size, size)).shape[1]
        super().__init__(
            *convolutions,
            nn.Linear(features, 120 * width),
            nn.ReLU(),
            nn.Linear(120 * width, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
