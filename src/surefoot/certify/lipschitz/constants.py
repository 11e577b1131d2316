"""Lipschitz constants of a whole net: of every step, and of all differences of logits.

Leino, Wang, Fredrikson 2021 (pairwise constants: the last layer exactly per pair).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surefoot.certify.lipschitz.graph import Graph, Step, trace
from surefoot.certify.lipschitz.kinds import remember_kind, replaced, strange
from surefoot.certify.lipschitz.layer_bounds import Bound, Shape, bound, computes_like
from surefoot.certify.lipschitz.norms import UNIT
from surefoot.models.frozen import frozen
from surefoot.types import Model, rejects
from surefoot.uncertainty.logit_margin import LogitMarginSelective

Estimate = Callable[[nn.Module, Shape], Tensor | None]
"""An estimate of a layer's Lipschitz constant for inputs of a shape; None: the proven bound."""

WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
}
"""Modules around a net that compute what it does, by name: dynamo takes a second to import."""
remember_kind(LogitMarginSelective)


class Constants(NamedTuple):
    """What is known of a net.

    Args:
        pairwise: `[C, C]`, bounds on the constants of all differences of logits.
        Lipschitz constants: of each node, from the images on.
        bounds: of each step.
        graph: the net as steps.
    """

    pairwise: Tensor
    lipschitz_of: dict[str, Tensor]
    bounds: dict[str, Bound]
    graph: Graph

    @property
    def layers(self) -> list[dict[str, Any]]:
        """List the steps that change distances, for the record."""
        return [
            {
                "step": step.name,
                "kind": step.join if step.layer is None else type(step.layer).__name__,
                "Lipschitz constant": float(self.bounds[step.name].lipschitz),
            }
            for step in self.graph.steps
            if step.join != "chain" or float(self.bounds[step.name].lipschitz) != 1
        ]


def pairwise(
    model: Model, shape: Shape | None = None, *, bound_of: Estimate | None = None
) -> Tensor:
    r"""Bound the Lipschitz constants of all differences of logits, l2, in pixel units.

    $$ K_{ij} = \|w_i - w_j\|_2 \, L, \qquad L_{sum} = \sum L, \quad L_{stack} = (\sum L^2)^{1/2},
       \quad L_{layer} = \|W\| L $$
    with w_i the rows of the last dense layer and L the constant of the features before it. A net
    that ends otherwise gets $\sqrt{2} L$ of its logits.

    Args:
        model: a net whose code torch.fx can read, of known layers (`register` adds more); for one
            that answers "uncertain" by leads (`uncertainty.LogitMarginSelective`): those of its
            logits.
        shape: of an image, without the batch; nets of dense layers in a row do not need it.
        bound_of: for training only: estimates in place of the proven Lipschitz constants of layers.
            Gradients flow, and what comes out certifies nothing.

    Returns:
        upper bounds `[C, C]`, float64, 0 on the diagonal, measured afresh from the weights.

    Raises:
        ValueError: for a step without a known bound; it is named.
    """
    net = opened(model)
    if bound_of is not None:
        return constants_of(trace(net, shape), bound_of).pairwise
    with torch.no_grad(), frozen(net):
        return constants_of(trace(net, shape)).pairwise.cpu()


def opened(model: Model) -> nn.Module:
    """Return the net whose logits decide; raise for one whose layers or rejection are not known."""
    if isinstance(model, LogitMarginSelective):
        if why := strange(model, LogitMarginSelective) or replaced(LogitMarginSelective):
            raise ValueError(f"the rejection is not the one of LogitMarginSelective: {why}")
        return opened(model.model)
    if wrapped := _wrapped(model):
        return opened(getattr(model, wrapped))
    if rejects(model):
        raise ValueError(
            "a Lipschitz certificate of a selective classifier must know how it rejects; this"
            " rejection has no Lipschitz bound. Reject by logit margins"
            " (uncertainty.LogitMarginSelective: GloRo's bottom, a gap of logits), or certify the"
            " vote (certify.smoothing)."
        )
    if not isinstance(model, nn.Module):
        raise ValueError("a Lipschitz certificate needs an nn.Module whose layers can be read")
    for name, part in model.named_modules():
        _check_readable(part, name or "the net")
    return model


def _wrapped(model: Any) -> str | None:
    """Return under which name a wrapper holds its net; None for any other module."""
    return WRAPPERS.get(f"{type(model).__module__}.{type(model).__name__}")


def _check_readable(part: nn.Module, name: str) -> None:
    """Raise for what hides the code of a net, with the line to write instead."""
    kind, home = type(part), type(part).__module__
    if isinstance(part, torch.jit.ScriptModule):
        line = "certify the net that torch.jit was called on, with the same weights"
    elif home.startswith(("torch.ao.nn", "torch.nn.quantized", "torch.ao.quantization")):
        line = "certify the float net that was quantised; rounding to integers has no bound"
    elif wrapped := _wrapped(part):
        line = f"put `.{wrapped}` of it into the net instead, and wrap the net as a whole"
    elif part._compiled_call_impl is not None:
        line = "certify the net before `.compile()`, or write compiled = torch.compile(net)"
    else:
        return
    raise ValueError(f"a Lipschitz certificate cannot read {kind.__name__} ({name}): {line}")


def constants_of(graph: Graph, bound_of: Estimate | None = None) -> Constants:
    """Carry Lipschitz constants through the steps of a net, from the images to the logits."""
    one = torch.ones((), dtype=torch.float64)
    lipschitz_of, bounds = {graph.source: one}, {}
    for step in graph.steps:
        found = _bound(step, bound_of)
        bounds[step.name] = found
        lipschitz_of[step.name] = (
            _joined(step, [lipschitz_of[name] for name in step.sources]) * found.lipschitz
        )
        if bound_of is None:
            lipschitz_of[step.name] = lipschitz_of[step.name].double().cpu() * (
                1 + 4 * UNIT * len(step.sources)
            )
            _check_finite(step, found)
    return Constants(_pairs(graph, lipschitz_of, bounds), lipschitz_of, bounds, graph)


def _check_finite(step: Step, found: Bound) -> None:
    numbers = (float(found.lipschitz), found.gain, found.offset, found.peak)
    if not all(math.isfinite(one) and one >= 0 for one in numbers):
        raise ValueError(
            f"the step {step.name} has no finite bound ({max(numbers)}): its weights, statistics or"
            " factors are not finite, or divide by zero. Look for a training that diverged"
        )


def _bound(step: Step, bound_of: Estimate | None) -> Bound:
    if step.layer is None:
        return step.bound
    estimate = None if bound_of is None else bound_of(step.layer, step.shape or ())
    return bound(step.layer, step.shape) if estimate is None else Bound(estimate)


def _joined(step: Step, lipschitz_of: list[Tensor]) -> Tensor:
    if step.join == "chain":
        return lipschitz_of[0]
    together = torch.stack([lipschitz.double() for lipschitz in lipschitz_of])
    return together.sum() if step.join == "sum" else together.square().sum().sqrt()


def _pairs(graph: Graph, lipschitz_of: dict[str, Tensor], bounds: dict[str, Bound]) -> Tensor:
    """Go back from the logits to the last dense layer, past steps that treat all logits alike."""
    steps = {step.name: step for step in graph.steps}
    factor, name = torch.ones((), dtype=torch.float64), graph.result
    while name in steps:
        step = steps[name]
        if isinstance(step.layer, nn.Linear) and computes_like(step.layer, nn.Linear):
            constant = factor * lipschitz_of[step.sources[0]]
            return constant * _gaps(step.layer.weight.double()).to(constant.device)
        if not step.alike:
            break
        factor = factor * bounds[name].lipschitz * (1 + UNIT)
        name = step.sources[0]
    if graph.classes is None:
        raise ValueError(
            "the net does not end in a dense layer: give `shape=(planes, height, width)` of an"
            " image, and its logits are bounded as a whole"
        )
    apart = 1 - torch.eye(graph.classes, dtype=torch.float64)
    return (
        lipschitz_of[graph.result]
        * 2**0.5
        * (1 + UNIT)
        * apart.to(lipschitz_of[graph.result].device)
    )


def _gaps(rows: Tensor) -> Tensor:
    """Return distances of all pairs of rows, rounded up; with a gradient also on the diagonal."""
    gaps = rows.unsqueeze(1) - rows
    squares = gaps.square().sum(2)
    apart = squares > 0
    roots = squares.where(apart, torch.ones_like(squares)).sqrt().where(apart, 0.0)
    # A sum of n squares and a root: at most (n + 3) units of relative error.
    # Squares too small for float64 are lost, which takes less than 1e-150 from rows that differ.
    lost = 1e-150 * (gaps != 0).any(2).to(rows)
    return roots * (1 + (rows.shape[1] + 3) * UNIT) + lost
