"""Certificates from Lipschitz constants that are measured, proven, and rounded up."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from surefoot.certify.certificates import Certificates
from surefoot.certify.lipschitz.constants import Constants, constants_of, opened, pairwise
from surefoot.certify.lipschitz.graph import trace
from surefoot.certify.lipschitz.layer_bounds import Shape
from surefoot.certify.lipschitz.operations import check_same_net, operations_of
from surefoot.certify.lipschitz.rounding import Execution, unit_of
from surefoot.guarantees import Guarantee, Local, check_model
from surefoot.models.frozen import device_of, dtype_of, frozen
from surefoot.types import (
    Images,
    Model,
    Outcomes,
    PerAlternative,
    Sets,
    ValueRange,
    box_of,
    checked_images,
)
from surefoot.uncertainty.logit_margin import LogitMarginSelective

PART = 250
"""Images in one pass."""


class _Lead(NamedTuple):
    """What decides at some images, and what rounding asks of every lead there.

    Args:
        logits: `[B, C]`.
        slack: `[B]`, what the errors of both executions may take from a lead at radius 0.
        growth: by how much more for each unit of radius.
        room: `[B]`, the radius within which no number can overflow.
    """

    logits: Outcomes
    slack: Tensor
    growth: float
    room: Tensor


def certify(
    model: Model,
    images: Images,
    *,
    guarantee: Guarantee,
    sets: Sets | None = None,
    value_range: ValueRange = (0.0, 1.0),
) -> Certificates:
    r"""Certify the largest l2 radius of each alternative from pairwise Lipschitz constants.

    $$ r = \min_{a \in S, i \notin S}
       \frac{f_a - f_i - T_{ai} - 2 \sqrt{2} e_0}{K_{ai} + \sqrt{2} e_1} $$
    with e the errors of the floating-point execution, clean and attacked (`rounding`). T is 0,
    and for a net that rejects by leads (`uncertainty.LogitMarginSelective`, slack T of its own):

    - `Local`, radius (i), same label and still certain: T as it is;
    - `LabelOrUncertain`, radius (ii): $-T_{ia}$, because another label needs a lead of its own.

    Args:
        model: a net that `pairwise` knows; or `LogitMarginSelective` around one. It is certified as
            it runs: in float32 the worst case of rounding may take much from a deep net, and in
            float64 (`models.Double`) almost nothing.
        images: inside the box; they take the precision of the weights.
        guarantee: what must not change.
        sets: alternatives that were chosen before; None: those of the guarantee at the images.
        value_range: of the images; None: no box. Radii are in that unit.

    Returns:
        certificates; `details` holds the constants, the Lipschitz constants of the layers and the
        rounding.

    Raises:
        ValueError: a layer without a bound, or a guarantee that a rejecting net does not have.

    Reference: Leino, Wang, Fredrikson 2021; Leino, Fredrikson 2021; radii (i), (ii) derived here.
    """
    low, high = box_of(value_range)
    images = checked_images(images, low, high)
    check_model(guarantee, model)
    net, rejection = opened(model), model if isinstance(model, LogitMarginSelective) else None
    if rejection is not None and guarantee.set_valued:
        raise ValueError(
            f"{type(guarantee).__name__} of a net that rejects has no Lipschitz certificate: take"
            " local or label-or-uncertain, or certify the net without its rejection"
        )
    images = images.to(dtype_of(net)).contiguous().as_subclass(Tensor)
    inner = model.model if isinstance(model, LogitMarginSelective) else model
    with torch.no_grad():
        with frozen(net):
            constants = measured(net, tuple(images.shape[1:]))
            lead, error = _lead(constants, images)
            graph = constants.graph
            run = fx.Interpreter(graph.module, graph=graph.nodes).run
            calls = operations_of(run, images)
        read = lead.logits[:PART], error[:PART]
        check_same_net(inner, net, images[:PART], read, calls)
    if sets is None:
        with torch.no_grad():
            outcomes = lead.logits if rejection is None else rejection.outcomes(lead.logits)
        sets = guarantee.sets(outcomes)
    diameter = 1.001 * (high - low) * math.prod(images.shape[1:]) ** 0.5
    radii = _radii(lead, sets, guarantee, constants, rejection, diameter)
    samples = torch.zeros(len(images), dtype=torch.long)
    return Certificates(radii, sets, samples, _details(lead, constants, rejection))


def gloro(model: nn.Module, eps: float, shape: Shape | None = None) -> LogitMarginSelective:
    r"""Let a net reject where it is not certified at eps: the bottom logit of GloRo nets.

    $$ o_C = \max_{i \ne j} (f_i + \epsilon K_{ji}) $$
    Without rounding, its radius (i) is that of the net less eps, and radius (ii) eps more.

    Args:
        model: a net that `pairwise` knows.
        eps: l2, pixel units.
        shape: of an image, without the batch; see `pairwise`.

    Reference: Leino, Wang, Fredrikson 2021.
    """
    return LogitMarginSelective(model, eps * pairwise(model, shape)).to(device_of(model))


def measured(net: nn.Module, shape: Shape) -> Constants:
    """Return all constants of a net for images of a shape."""
    with torch.no_grad(), frozen(net):
        return constants_of(trace(net, shape))


def _lead(constants: Constants, images: Images) -> tuple[_Lead, Tensor]:
    """Run the graph of a net in parts, with its errors; these are given beside, `[B]`."""
    found, growth = [], 0.0
    for part in images.split(PART):
        execution = Execution(constants, unit_of(part))
        logits, error, growth = execution.logits(part)
        found.append((logits, error, execution.room))
    logits, error, room = (torch.cat(parts) for parts in zip(*found, strict=True))
    slack = 8**0.5 * error * (1 + 1e-12)
    return _Lead(logits, slack, 2**0.5 * growth * (1 + 1e-12), room), error


def _radii(
    lead: _Lead,
    sets: Sets,
    guarantee: Guarantee,
    constants: Constants,
    rejection: LogitMarginSelective | None,
    diameter: float,
) -> PerAlternative:
    """Return radii on the logits; "uncertain" enters as slack.

    No image lies further away than the diameter of the box: where there is room for that, no number
    can overflow.
    """
    bounds = constants.pairwise.to(lead.logits.device)
    classes, slack, growth = lead.logits.shape[1], lead.slack, lead.growth
    demanded: Tensor = torch.zeros_like(bounds)
    if rejection is not None:
        own = rejection.slack.to(bounds)
        demanded = -own.T if guarantee.counts_rejection_as_right else own
        # Comparing with the slack rounds, too: each side by a unit of what it adds up.
        unit = 8 * unit_of(lead.logits)
        largest = lead.logits.double().abs().amax(1) + own.amax()
        # Logits grow by their own Lipschitz constant, which all may share: differences do not.
        lipschitz = float(constants.lipschitz_of[constants.graph.result]) + growth
        slack, growth = slack + unit * (largest + slack), growth + unit * lipschitz
        guarantee, sets = Local(), label_sets(sets, classes, guarantee)
    whole = demanded + slack.view(-1, 1, 1)
    radii = guarantee.lipschitz_radii(lead.logits, sets, bounds + growth, whole)
    room = torch.where(lead.room > diameter, torch.inf, lead.room)
    return torch.minimum(radii, room.unsqueeze(1))


def label_sets(sets: Sets, classes: int, guarantee: Guarantee) -> Tensor:
    """Keep the labels of what leads can certify: one certain label, or labels and "uncertain"."""
    labels, uncertain = sets[:, :, :classes], sets[:, :, classes:].any(2, keepdim=True)
    alone = labels.sum(2, keepdim=True) == 1
    return labels & (uncertain if guarantee.counts_rejection_as_right else alone & ~uncertain)


def _rounding(lead: _Lead, constants: Constants) -> dict[str, float]:
    """State what rounding takes: from leads, for each unit of radius, and about from a radius."""
    between = constants.pairwise[constants.pairwise > 0].cpu()
    usual = between.median().item() if len(between) else 1.0
    slack = lead.slack.median().item()
    return {"slack": slack, "per radius": lead.growth, "radius": slack / usual}


def _details(
    lead: _Lead, constants: Constants, rejection: LogitMarginSelective | None
) -> dict[str, Any]:
    return {
        "method": "lipschitz",
        "norms": "eigenvalues, proven by Cholesky, float64, rounded up",
        "arithmetic": f"{lead.logits.dtype}".removeprefix("torch."),
        "rounding": _rounding(lead, constants),
        "layers": constants.layers,
        "pairwise": constants.pairwise.cpu(),
        "rejection": None if rejection is None else rejection.slack.cpu(),
    }
