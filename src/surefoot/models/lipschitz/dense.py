"""Dense nets with MinMax: orthogonal layers, or free ones whose norms are trained.

Anil, Lucas, Grosse 2019 (MinMax, orthogonal); Leino, Wang, Fredrikson 2021 (free layers, trained
by the recipe `gloro`).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from surefoot.models.lipschitz.one_lipschitz import MinMax, Scale
from surefoot.models.lipschitz.weights import free_dense, orthogonal_dense, unit_dense


class LipschitzMLP(nn.Sequential):
    """Orthogonal dense layers with MinMax: before `Scale` every logit is 1-Lipschitz.

    Cross-entropy on scaled logits of a net with bounded Lipschitz constant asks for margins, so the
    recipe `standard` trains it; a larger `scale` asks for accuracy more than for margin.

    Args:
        inputs: pixels of an image, all planes.
        hidden: widths of the hidden layers, even.
        classes: logits.
        scale: factor on the logits.
        unit_rows: leave the rows of the last layer free but for their length 1 (last-layer
            normalisation); else they are orthogonal too.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (128, 128),
        classes: int = 10,
        scale: float = 4.0,
        unit_rows: bool = False,
    ) -> None:
        widths = [inputs, *hidden]
        last = (unit_dense if unit_rows else orthogonal_dense)(widths[-1], classes)
        super().__init__(*_hidden(widths, orthogonal_dense), last, Scale(scale))


class GloRoMLP(nn.Sequential):
    """Free dense layers with MinMax, orthogonal at the start only: for the recipe `gloro`.

    Its Lipschitz constant is the product of the norms of its weights, which the loss of that recipe
    sees.

    Args:
        inputs: pixels of an image, all planes.
        hidden: widths of the hidden layers, even.
        classes: logits.
    """

    def __init__(self, inputs: int, hidden: Sequence[int] = (128, 128), classes: int = 10) -> None:
        widths = [inputs, *hidden]
        super().__init__(*_hidden(widths, free_dense), free_dense(widths[-1], classes))


def _hidden(widths: list[int], dense: Callable[[int, int], nn.Module]) -> list[nn.Module]:
    if any(width % 2 for width in widths[1:]):
        raise ValueError(f"MinMax sorts pairs: hidden widths must be even; found {widths[1:]}")
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [dense(before, after), MinMax()]
    return layers
