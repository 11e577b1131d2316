r"""What keeps interval bounds from exploding while eps rises: initial weights and a penalty.

Both keep the mean width of the bounds alike from layer to layer, and the penalty also keeps ReLUs
from dying.

Reference: Shi et al. 2021.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.curves import RELU
from surefoot.training.interval_bounds import FlowBounds
from surefoot.training.live_net import LiveNet, Rules

TOLERANCE = 0.5
"""Ratio below which a layer is penalised."""
SMALL = 1e-12


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    r"""Draw weights from $N(0, 2 \pi / n^2)$, n the inputs of an output, and set biases to 0.

    Then $E |w| n = 2$: behind a ReLU, which halves it, the mean width of interval bounds is that of
    the layer before. Layers with a parametrised weight keep theirs.

    Args:
        model: its dense layers and convolutions are changed.
        generator: source of the weights; they are drawn on the CPU.
    """
    for layer in model.modules():
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            continue
        if parametrize.is_parametrized(layer):
            continue
        with torch.no_grad():
            count = layer.weight[0].numel()
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn * (math.sqrt(2 * math.pi) / count))
            if layer.bias is not None:
                layer.bias.zero_()


def instability(net: LiveNet, rules: Rules, known: dict[str, FlowBounds]) -> Tensor:
    r"""Return the penalty on bounds that widen, and on layers whose ReLUs are mostly on or off.

    $$ \tfrac{1}{\tau m} \sum_i (\tau - \Delta_0 / \Delta_i)_+ + (\tau - \rho_i)_+
       + (\tau - \sigma_i)_+ $$
    over the m ReLU layers, with $\tau$ = 1/2, $\Delta$ the mean width of the bounds before a layer
    and $\Delta_0$ that of the images; $\rho$ compares the sums of the centers of ReLUs that are
    certainly on and certainly off, $\sigma$ their squared distances from the mean: the smaller over
    the larger.

    Args:
        net: the net.
        rules: of its steps.
        known: interval bounds, of regions of more than one point.

    Returns:
        a scalar; 0 for a net without ReLU.
    """
    first = _width(known[net.graph.source])
    terms = []
    for step in net.graph.steps:
        rule = rules[step.name]
        if isinstance(rule, Affine) or rule is not RELU:
            continue
        bounds = known[step.sources[0]]
        ratios = [first / _width(bounds).clamp(min=SMALL), *_balances(bounds)]
        terms.append(sum((TOLERANCE - ratio).clamp(min=0) for ratio in ratios))
    if not terms:
        return first.new_zeros(())
    return torch.stack(terms).mean() / TOLERANCE  # pyright: ignore


def _width(bounds: FlowBounds) -> Tensor:
    return (bounds.upper - bounds.lower).mean()


def _balances(bounds: FlowBounds) -> list[Tensor]:
    """Return how evenly ReLUs that are certainly on and off share centers and their variance."""
    center = bounds.center
    on, off = (bounds.lower > 0).to(center), (bounds.upper < 0).to(center)
    apart = (center - center.mean()).square()
    pairs = [
        ((center * on).sum(), -(center * off).sum()),
        ((apart * on).sum(), (apart * off).sum()),
    ]
    return [_smaller_over_larger(one, other) for one, other in pairs]


def _smaller_over_larger(one: Tensor, other: Tensor) -> Tensor:
    return torch.minimum(one, other) / torch.maximum(one, other).clamp(min=SMALL)
