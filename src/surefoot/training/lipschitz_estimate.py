"""Lipschitz constants of a net as training sees them: fast, differentiable, never certified.

A power iteration comes from below: it may shape weights, and must certify nothing
(`certify.lipschitz.certify` measures afresh). Its vectors are kept from step to step, so one
iteration a step follows weights that move slowly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.nn.grad import conv2d_input

from surefoot.certify.lipschitz.constants import constants_of
from surefoot.certify.lipschitz.graph import Graph, trace

WARM_UP = 20
Apply = Callable[[Tensor, Tensor], Tensor]
"""(weight, point) -> image of the point."""


@dataclass
class Memory:
    """What an epoch remembers of a net.

    Attributes:
        epoch: it belongs to; another one starts afresh, so that a run resumed behind an epoch goes
            on as if it had not been killed.
        graph: the net as steps.
        vectors: of each layer, near its first singular vector.
    """

    epoch: int
    graph: Graph
    vectors: WeakKeyDictionary[nn.Module, Tensor] = field(default_factory=WeakKeyDictionary)


FEW = 4
"""So many nets are remembered at once; one that was forgotten starts its vectors afresh."""
_MEMORIES: WeakKeyDictionary[nn.Module, Memory] = WeakKeyDictionary()


def estimated_pairwise(
    model: nn.Module, shape: tuple[int, ...], *, epoch: int, steps: int
) -> Tensor:
    """Estimate the Lipschitz constants of all differences of logits, with gradients.

    Args:
        model: of layers that `certify.lipschitz` knows.
        shape: of an image.
        epoch: the current one.
        steps: of each layer.

    Returns:
        `[C, C]`, from below; its gradient is that of the last application of each layer.
    """
    memory = _MEMORIES.get(model)
    if memory is None or memory.epoch != epoch:
        if len(_MEMORIES) > FEW:  # a graph holds its net, which weak keys would never let go
            _MEMORIES.clear()
        memory = _MEMORIES[model] = Memory(epoch, trace(model, shape))

    def bound_of(layer: nn.Module, inputs: tuple[int, ...]) -> Tensor | None:
        return estimated_lipschitz(layer, inputs, memory.vectors, steps)

    return constants_of(memory.graph, bound_of).pairwise


def estimated_lipschitz(
    layer: nn.Module,
    shape: tuple[int, ...],
    vectors: WeakKeyDictionary[nn.Module, Tensor],
    steps: int,
) -> Tensor | None:
    r"""Estimate the norm of a dense layer or convolution: $\|W v\|$ with v close to the best.

    $$ v \gets W^T W v / \|W^T W v\| $$

    Args:
        layer: any layer.
        shape: of its input, without the batch.
        vectors: v of each layer seen before; changed.
        steps: each one application of W and of its transpose; the first call takes more.

    Returns:
        a scalar, or None for a layer of another kind or padding: its proven Lipschitz constant is
        taken.
    """
    apply = _application(layer)
    if apply is None:
        return None
    weight = layer.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        vector = vectors.get(layer)
        if vector is None:
            vector, steps = _start(shape, weight), WARM_UP + steps
        for _ in range(steps):
            vector = _unit(_transposed(layer, weight, apply(weight, vector), vector))
        vectors[layer] = vector
    return torch.linalg.vector_norm(apply(weight, vector))


def _application(layer: nn.Module) -> Apply | None:
    """Return the linear part of a layer, as a function of its weight too."""
    forward = type(layer).forward
    if isinstance(layer, nn.Linear) and forward is nn.Linear.forward:
        return lambda weight, point: linear(point, weight)
    if not isinstance(layer, nn.Conv2d) or forward is not nn.Conv2d.forward:
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return lambda weight, point: conv2d(point, weight, None, *how)


def _transposed(layer: nn.Module, weight: Tensor, image: Tensor, point: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return conv2d_input(list(point.shape), weight, image, *how)  # pyright: ignore[reportArgumentType]
    return image @ weight


def _start(shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """Draw a direction; the same in each epoch, and no special one like that of all ones."""
    stream = torch.Generator().manual_seed(0)
    return _unit(torch.randn(1, *shape, generator=stream).to(weight))


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector).clamp(min=1e-30)
