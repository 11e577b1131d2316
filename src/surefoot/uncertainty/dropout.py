"""Monte-Carlo dropout: a net whose dropout stays on, so that each pass is one draw."""

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from surefoot.types import Images, Outcomes


class MCDropout(nn.Module):
    """Answer with one draw of the dropout masks, in eval mode too (Gal, Ghahramani 2016).

    Every image of a batch has its own mask, and every call new ones, from torch's global stream.
    One draw is nobody's answer: judge the vote, `Vote(MCDropout(net), sigma=0.0)`.

    Args:
        model: a net with dropout layers.

    Raises:
        ValueError: no layer drops anything.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        if not any(layer.p > 0 for layer in self._layers()):
            raise ValueError(
                "the net has no dropout layer with a probability above 0, so every draw would be"
                " the same: build it with dropout"
            )
        self.train(self.training)

    def train(self, mode: bool = True) -> "MCDropout":
        """Switch everything but dropout, which stays on."""
        super().train(mode)
        for layer in self._layers():
            layer.train()
        return self

    def forward(self, images: Images) -> Outcomes:
        """Draw once for each image."""
        return self.model(images)

    def _layers(self) -> list[_DropoutNd]:
        return [layer for layer in self.model.modules() if isinstance(layer, _DropoutNd)]
