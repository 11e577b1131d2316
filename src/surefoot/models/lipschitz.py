"""Dense nets whose Lipschitz constants are small by construction: MinMax and orthogonal layers.

Anil, Lucas, Grosse 2019 (MinMax); Leino, Wang, Fredrikson 2021 (their use in certified nets).
What a certificate may claim is measured from the weights in `certify.lipschitz`, never taken from
here: orthogonal matrices exceed norm 1 by rounding.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal


class MinMax(nn.Module):
    """Sort each pair of neighbouring features: 1-Lipschitz and gradient preserving."""

    def forward(self, features: Tensor) -> Tensor:
        """Map `[B, F]`, F even, to the same shape."""
        pairs = features.view(len(features), -1, 2)
        return pairs.sort(dim=2).values.flatten(1)


class Scale(nn.Module):
    """Multiply by a fixed factor: the inverse temperature of the softmax that follows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        """Scale every feature."""
        return self.factor * features


class LipschitzMLP(nn.Sequential):
    """Orthogonal dense layers with MinMax: before `Scale` every logit is 1-Lipschitz.

    Cross-entropy on scaled logits of a net with bounded slope asks for margins, so the recipe
    `standard` trains it; a larger `scale` asks for accuracy more than for margin.

    Args:
        inputs: pixels of an image, all planes.
        hidden: widths of the hidden layers, even.
        classes: logits.
        scale: factor on the logits.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (128, 128),
        classes: int = 10,
        scale: float = 4.0,
    ) -> None:
        if any(width % 2 for width in hidden):
            raise ValueError(f"MinMax sorts pairs: hidden widths must be even; found {hidden}")
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise([inputs, *hidden]):
            layers += [_dense(before, after), MinMax()]
        layers.append(_dense([inputs, *hidden][-1], classes))
        super().__init__(*layers, Scale(scale))


def _dense(before: int, after: int) -> nn.Module:
    return orthogonal(nn.Linear(before, after), orthogonal_map="cayley")
