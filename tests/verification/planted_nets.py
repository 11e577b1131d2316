"""Networks whose least output on a box is known: valleys that attacks miss, and folds."""

import torch
from torch import nn

from surefoot.verification import Specification, Violation


def valley(inputs: int, draw: torch.Generator) -> tuple[nn.Module, float]:
    r"""Return a net with outputs y = h - k relu(w - |x - c|_1), and its least output h - k w.

    It is flat but for a small neighbourhood of c, a random point of [0, 1]^d: gradients are 0 at
    almost every start of an attack.
    """
    centre = torch.rand(inputs, generator=draw) * 0.8 + 0.1
    width, depth, height = 0.02 + 0.05 * _number(draw), 20.0, _number(draw)
    first, second, last = nn.Linear(inputs, 2 * inputs), nn.Linear(2 * inputs, 1), nn.Linear(1, 1)
    with torch.no_grad():
        eye = torch.eye(inputs)
        first.weight.copy_(torch.cat([eye, -eye]))
        first.bias.copy_(torch.cat([-centre, centre]))
        second.weight.fill_(-1.0)
        second.bias.fill_(width)
        last.weight.fill_(-depth)
        last.bias.fill_(height)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    return net.eval(), height - depth * width


def folded(inputs: int, draw: torch.Generator) -> tuple[nn.Module, float]:
    r"""Return a net with y = sum |x_i - c_i| - |sum (x_i - c_i)| + b, and b, its least output.

    Intervals and lines lose what the two terms share: the proof needs splits.
    """
    centre = torch.rand(inputs, generator=draw) * 0.8 + 0.1
    shift = _number(draw) - 0.5
    first, last = nn.Linear(inputs, 2 * inputs + 2), nn.Linear(2 * inputs + 2, 1)
    with torch.no_grad():
        eye, ones = torch.eye(inputs), torch.ones(1, inputs)
        first.weight.copy_(torch.cat([eye, -eye, ones, -ones]))
        total = centre.sum().view(1)
        first.bias.copy_(torch.cat([-centre, centre, -total, total]))
        last.weight.copy_(torch.cat([torch.ones(2 * inputs), -torch.ones(2)]))
        last.bias.fill_(shift)
    return nn.Sequential(first, nn.ReLU(), last).eval(), shift


def below(inputs: int, bound: float) -> Specification:
    """Return the specification that y <= bound somewhere in [0, 1]^d is a violation."""
    zeros, ones = torch.zeros(inputs).double().numpy(), torch.ones(inputs).double().numpy()
    return Specification(inputs, 1, [Violation(zeros, ones, ones[:1, None], ones[:1] * bound)])


def instance(number: int) -> tuple[nn.Module, Specification, str]:
    """Return an instance and its true answer: half of them hold, by little."""
    draw = torch.Generator().manual_seed(number)
    inputs = int(torch.randint(1, 4, (1,), generator=draw))
    net, least = (valley if number % 2 else folded)(inputs, draw)
    holds = number % 4 < 2
    gap = (0.02 + 0.1 * _number(draw)) * (-1 if holds else 1)
    return net, below(inputs, least + gap), "holds" if holds else "violated"


def _number(draw: torch.Generator) -> float:
    return float(torch.rand(1, generator=draw))
