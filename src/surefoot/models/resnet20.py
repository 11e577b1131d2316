"""ResNet-20 for 32 x 32 images, small enough for two cores; weights of others fit its names.

He, Zhang, Ren, Sun 2016, "Deep residual learning", section 4.2, shortcuts of option A.
"""

from torch import Tensor, nn
from torch.nn.functional import pad


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; the shortcut drops pixels and adds empty channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.stride, self.extra = stride, (after - before) // 2

    def forward(self, images: Tensor) -> Tensor:
        """Map `[B, before, H, W]` to `[B, after, H / stride, W / stride]`."""
        inner = self.bn2(self.conv2(self.bn1(self.conv1(images)).relu()))
        kept = images[:, :, :: self.stride, :: self.stride]
        return (inner + pad(kept, (0, 0, 0, 0, self.extra, self.extra))).relu()


class ResNet20(nn.Module):
    """Nine blocks in three stages of 16, 32 and 64 channels, average pooling, one dense layer.

    Args:
        planes: image planes.
        classes: logits.
        width: channels of the first stage.
    """

    def __init__(self, planes: int = 3, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, planes, H, W]` to logits."""
        inner = self.bn1(self.conv1(images)).relu()
        inner = self.layer3(self.layer2(self.layer1(inner)))
        return self.linear(inner.mean((2, 3)))


def _stage(before: int, after: int, stride: int) -> nn.Sequential:
    rest = [PlainBlock(after, after, 1) for _ in range(2)]
    return nn.Sequential(PlainBlock(before, after, stride), *rest)
