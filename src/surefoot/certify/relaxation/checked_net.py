"""Whether a net that is to be bounded computes what its graph says: read it, run both, compare."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from surefoot.certify.lipschitz.constants import opened
from surefoot.certify.lipschitz.graph import trace
from surefoot.certify.lipschitz.operations import check_same_net, operations_of
from surefoot.certify.relaxation.input_set import input_set_of
from surefoot.certify.relaxation.relaxed_net import RelaxedNet
from surefoot.certify.relaxation.substitution import BATCH, Bounds
from surefoot.threat import Threat
from surefoot.types import Images, Model


def relaxed_net_of(net: nn.Module, images: Images) -> RelaxedNet:
    """Read a net, for images of this shape.

    Raises:
        ValueError: it cannot be read, or has a layer without a relaxation; it is named.
    """
    try:
        graph = trace(net, tuple(images.shape[1:]))
    except ValueError as error:
        raise ValueError(
            f"relaxations cannot read the net: {error} For them the line is"
            " certify.relaxation.register(Layer, rule)"
        ) from error
    return RelaxedNet(graph)


def check_runs_alike(
    relaxed: RelaxedNet, run: Model, images: Images, unit: float, threat: Threat
) -> None:
    """Raise unless the net, run afresh, computes what its graph does, within proven rounding."""
    some, graph = images[:BATCH], relaxed.graph
    logits = _Reader(relaxed, unit).run(some)
    calls = operations_of(fx.Interpreter(graph.module, graph=graph.nodes).run, some)
    if logits.ndim != 2:
        raise ValueError(
            f"the net must return logits [B, classes]; found {tuple(logits.shape)}: end it with a"
            " layer that gives one row an image, such as nn.Flatten()"
        )
    still = torch.zeros(len(some), dtype=torch.float64, device=some.device)
    region = input_set_of(some, still, threat)
    bounds = Bounds(relaxed, region, unit, "ibp")
    known = bounds.known[graph.result]
    outside = (logits < known.lower) | (logits > known.upper)
    if bool((outside.any(1) & bounds.usable).any()):
        raise ValueError(
            "the logits lie outside of what was proven for them at the images: a rule of a layer"
            " (certify.relaxation.register) is wrong, or the net computes in a precision that is"
            " not counted (autocast). There is no certificate"
        )
    error = (known.upper - known.lower).norm(dim=1)
    check_same_net(run, opened(run), some, (logits, error), calls)


class _Reader(fx.Interpreter):
    """Run the graph, and raise where a step computes in less precision than is counted."""

    def __init__(self, net: RelaxedNet, unit: float) -> None:
        graph = net.graph
        super().__init__(graph.module, graph=graph.nodes)
        self.extra_traceback = False
        self.unit = unit

    def run_node(self, n: fx.Node) -> Any:
        """Run a node."""
        value = super().run_node(n)
        real = isinstance(value, Tensor) and value.is_floating_point()
        if real and torch.finfo(value.dtype).eps / 2 > self.unit:
            raise ValueError(
                f"a step computes in {value.dtype}, less than the unit {self.unit:.1e} of the"
                " certificate: run without autocast, in one precision throughout"
            )
        return value
