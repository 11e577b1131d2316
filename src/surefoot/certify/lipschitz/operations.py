"""The operations that a net really runs, beside those of the graph that was read from its code.

Code may notice that it is read, and do something else later. What cannot hide is what reaches the
kernels of torch: each operation that depends on the images, in order, with all that enters it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from surefoot.models.frozen import frozen
from surefoot.types import Images, Model, Outcomes

Call = tuple[Any, list[Any]]


class _Flow(int):
    """The place of a tensor that depends on the images, among all of them."""


class _Watch(TorchDispatchMode):
    """Keep the operations that depend on the images."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.places = {id(images): _Flow(0)}
        self.kept: list[Any] = [images]  # an id belongs to a tensor for as long as it lives
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep it if a flow enters."""
        entering = _leaves([*args, *(kwargs or {}).values()])
        result = func(*args, **(kwargs or {}))
        if any(id(one) in self.places for one in entering):
            self.calls.append((func, [self.places.get(id(one), one) for one in entering]))
            self.kept += [entering, result]
            for one in _leaves([result]):
                if isinstance(one, Tensor):
                    self.places.setdefault(id(one), _Flow(len(self.places)))
        return result


def _leaves(values: list[Any]) -> list[Any]:
    """Flatten lists and tuples; torch's own way takes longer than the operations."""
    found: list[Any] = []
    for one in values:
        found += _leaves(list(one)) if isinstance(one, list | tuple) else [one]
    return found


def watched(run: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, list[Call]]:
    """Return what comes out for images, and the operations behind it."""
    with _Watch(images) as watch:
        outcomes = run(images)
    return outcomes, watch.calls


def check_alike(read: list[Call], found: list[Call]) -> None:
    """Raise unless both lists hold the same operations on the same operands."""
    for number in range(max(len(read), len(found))):
        one, other = read[number : number + 1], found[number : number + 1]
        if not (one and other and _alike(one[0], other[0])):
            name = (other or one)[0][0].__name__
            raise ValueError(
                f"the net runs other operations than the code that was read from it; the first is"
                f" {name} (number {number + 1}). It branches on values, keeps a state, or draws at"
                " random, and has no Lipschitz certificate: remove that, or certify the vote"
                " (certify.smoothing). Weights that a parametrisation changes in each call, such as"
                " the power iterations of orthogonium, are fixed by"
                " torch.nn.utils.parametrize.remove_parametrizations(layer, name)"
            )


def _alike(one: Call, other: Call) -> bool:
    same = one[0] is other[0] and len(one[1]) == len(other[1])
    return same and all(_equal(*pair) for pair in zip(one[1], other[1], strict=True))


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and _same_bytes(one, other)
    return _same_bytes(one, other) if isinstance(one, Tensor) else one == other


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _companies(images: Images) -> list[tuple[Tensor, int]]:
    """Return batches of another size and composition, and how many rows are those of the images."""
    few = images[:2]
    return [(images[:1].clone(), 1), (torch.cat([few, 1 - few.flip(0)]), len(few))]


def operations_of(run: Callable[[Tensor], Tensor], images: Images) -> list[list[Call]]:
    """Watch a graph on batches that `check_same_net` gives to the net."""
    return [watched(run, some)[1] for some, _ in _companies(images)]


def check_same_net(
    run: Model, net: nn.Module, images: Images, read: tuple[Outcomes, Tensor], calls: Any
) -> None:
    """Raise unless the net, run afresh, does what its graph does, with one row in any company.

    Args:
        run: the net, perhaps within a wrapper.
        net: that was read.
        images: one batch.
        read: logits of the graph there, and the l2 error of each row.
        calls: what its graph did (`operations_of`).
    """
    logits, error = read
    with frozen(net):
        direct = run(images.clone())
    if not _close(direct, logits, error):
        raise ValueError(
            "the net gives other logits than the code that was read from it: it draws at random,"
            " keeps a state, or changes its arithmetic (autocast) inside. None has a certificate:"
            " remove it, or certify the vote (certify.smoothing)"
        )
    with frozen(net):
        again = [(*watched(net, some), some, rows) for some, rows in _companies(images)]
    for (outcomes, found, some, rows), operations in zip(again, calls, strict=True):
        check_alike(operations, found)
        if not _close(outcomes[:rows], logits[:rows], error[:rows]):
            raise ValueError(
                f"the net answers otherwise for one image in a batch of {len(images)} than in one"
                f" of {len(some)}: what it computes depends on the whole batch, and a certificate"
                " speaks of one image. Use statistics that are stored (eval mode), not the batch's"
            )


def _close(direct: Tensor, logits: Outcomes, error: Tensor) -> bool:
    """Return whether two executions lie within what both may err."""
    if direct.shape != logits.shape or direct.dtype != logits.dtype:
        return False
    return bool(((direct - logits).double().norm(dim=1) <= 2 * error).all())
