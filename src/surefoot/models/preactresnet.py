"""PreActResNet-18, the standard net of adversarial training, with width and dropout.

He, Zhang, Ren, Sun 2016, "Identity mappings in deep residual networks".
"""

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, and a shortcut from the first ReLU.

    Args:
        before: channels it gets.
        after: channels it returns.
        stride: of the first convolution.
        dropout: probability after every convolution.
        stem_dropout: probability after the convolution before the block.
    """

    def __init__(
        self, before: int, after: int, stride: int, dropout: float, stem_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stem_dropout = nn.Dropout(stem_dropout)
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        same = stride == 1 and before == after
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map `[B, before, H, W]` to `[B, after, H / stride, W / stride]`."""
        images = self.stem_dropout(images)
        active = self.norm1(images).relu()
        shortcut = images if self.shortcut is None else self.dropout(self.shortcut(active))
        inner = self.dropout(self.conv1(active))
        return self.dropout(self.conv2(self.norm2(inner).relu())) + shortcut


class PreActResNet18(nn.Sequential):
    """Eight pre-activation blocks in four stages, global average pooling, one dense layer.

    Args:
        planes: image planes.
        classes: logits.
        width: channels of the first stage (64 in the paper; 16 is fit for a CPU).
        dropout: probability after every convolution: stem, blocks and shortcuts.
    """

    def __init__(
        self, planes: int = 3, classes: int = 10, width: int = 64, dropout: float = 0.0
    ) -> None:
        layers: list[nn.Module] = [nn.Conv2d(planes, width, 3, padding=1, bias=False)]
        before = width
        for stage in range(4):
            after = width * 2**stage
            stride, stem_dropout = (1, dropout) if stage == 0 else (2, 0.0)
            layers.append(Block(before, after, stride, dropout, stem_dropout))
            layers.append(Block(after, after, 1, dropout))
            before = after
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
        super().__init__(*layers, nn.BatchNorm2d(before), nn.ReLU(), *head)
