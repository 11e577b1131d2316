"""Monte-Carlo dropout, in its two uses (Gal, Ghahramani 2016).

`MCDropout` is a *random model*: each pass is one draw, and it is judged by the vote of many.
`DropoutEnsemble` is the *mean over S draws*: with fixed masks an ensemble of S thinned nets that
share their weights, a plain function of the image like any net.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from surefoot.streams import generator
from surefoot.types import Images, Members, Outcomes, rejects
from surefoot.uncertainty.members import log_mean


class MCDropout(nn.Module):
    """Return one draw of the dropout masks, in eval mode too.

    Every image of a batch has its own mask, and every call new ones, from torch's global stream.
    One draw is no prediction: judge the vote, `Vote(MCDropout(net), sigma=0.0)`.

    Args:
        model: a net with dropout layers.

    Raises:
        ValueError: no layer drops anything.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rejects = model, rejects(model)
        _check(model)
        self.train(self.training)

    def train(self, mode: bool = True) -> "MCDropout":
        """Switch everything but dropout, which stays on."""
        super().train(mode)
        for layer in _layers(self.model):
            layer.train()
        return self

    def forward(self, images: Images) -> Outcomes:
        """Draw once for each image."""
        return self.model(images)


class DropoutEnsemble(nn.Module):
    r"""Return the log of the mean probability over S masks, $\log \tfrac{1}{S} \sum_s p_s$.

    With a seed the masks are fixed, one for each draw and use of a dropout layer, the same for all
    images and passes: attacks, certificates and records see a deterministic model. With seed None
    each pass and each image draws masks of its own from torch's global stream.

    In train mode it is the net itself with its ordinary dropout, so `fit` trains on one draw and
    perturbs through the mean, as in Pagliardini et al. 2022.

    Args:
        model: a net with dropout layers (`nn.Dropout`, `nn.Dropout1d`, `2d`, `3d`).
        draws: S.
        seed: of the masks; None draws them afresh.

    Raises:
        ValueError: no layer drops anything, no draw, or the net rejects.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
        >>> model = DropoutEnsemble(net, draws=8).eval()
        >>> torch.equal(model(torch.ones(2, 4)), model(torch.ones(2, 4)))
        True
    """

    def __init__(self, model: nn.Module, draws: int = 10, seed: int | None = 0) -> None:
        super().__init__()
        _check(model)
        if draws < 1 or rejects(model):
            raise ValueError(
                f"need draws >= 1 and a net that does not reject by itself; found {draws} and"
                f" {type(model).__name__}"
            )
        self.model, self.draws, self.seed = model, draws, seed
        own = {"draws": draws, "seed": seed}
        inner = getattr(model, "config", None)
        self.config = {"name": "dropout-ensemble", "model": inner, **own} if inner else None

    def members(self, images: Images) -> Members:
        """Return the outcomes under each of the S draws."""
        return torch.stack([self._draw(images, index) for index in range(self.draws)])

    def forward(self, images: Images) -> Outcomes:
        """Combine the draws; in train mode take the net's own one."""
        return self.model(images) if self.training else log_mean(self.members(images))

    def _draw(self, images: Images, index: int) -> Outcomes:
        stream = None if self.seed is None else generator(self.seed, index)
        with _dropping(self.model, stream):
            return self.model(images)


def _layers(model: nn.Module) -> list[_DropoutNd]:
    return [layer for layer in model.modules() if isinstance(layer, _DropoutNd)]


def _check(model: nn.Module) -> None:
    if not any(layer.p > 0 for layer in _layers(model)):
        raise ValueError(
            "the net has no dropout layer with a probability above 0, so every draw would be"
            " the same: build it with dropout"
        )


@contextmanager
def _dropping(model: nn.Module, stream: torch.Generator | None) -> Iterator[None]:
    """Let the dropout layers drop by masks of this stream, though they are in eval mode."""
    hook = partial(_thinned, stream)
    handles = [layer.register_forward_hook(hook) for layer in _layers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _thinned(
    stream: torch.Generator | None, layer: Any, _: tuple[Tensor, ...], features: Tensor
) -> Tensor | None:
    """Drop entries, or whole channels, and scale the rest up: one mask for all images, or each own.

    A layer in train mode has dropped already.
    """
    if layer.training:
        return None
    shape = features.shape
    if not isinstance(layer, nn.Dropout):
        shape = (*shape[:2], *[1] * (features.ndim - 2))
    if stream is None:
        uniform = torch.rand(shape, device=features.device)
    else:  # on the CPU everywhere, so that a model is the same function on every device
        uniform = torch.rand(shape[1:], generator=stream).to(features.device)
    return features * (uniform >= layer.p) / (1 - layer.p)
