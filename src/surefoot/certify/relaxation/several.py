"""Functions of several numbers: MinMax of two, the maximum over a window."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from surefoot.certify.lipschitz.layer_bounds import Shape
from surefoot.certify.relaxation.curves import RELU, Lines


class PairSort:
    r"""MinMax: $\max(a, b) = b + relu(a - b)$ and $\min(a, b) = a - relu(a - b)$."""

    terms = 0

    def unstable(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Return which pairs may stand in either order."""
        crossing = RELU.unstable(*_difference(lower, upper))
        return torch.stack([crossing, crossing], 2).flatten(1, 2)

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the values: both are monotone."""
        return _sorted(lower), _sorted(upper)

    def lines(self, lower: Tensor, upper: Tensor) -> Lines:
        """Return the lines of the ReLU of a - b."""
        return RELU.lines(*_difference(lower, upper))

    def tilted(self, lower: Tensor, upper: Tensor, lines: Lines, slopes: list[Tensor]) -> Lines:
        """Return lines of the ReLU with other slopes."""
        return RELU.tilted(*_difference(lower, upper), lines, slopes)

    def size(self, lower: Tensor, upper: Tensor, lines: Lines) -> Tensor:
        """Return how large the numbers behind an output are, for their rounding."""
        one, other = _pairs(torch.maximum(lower.abs(), upper.abs()))
        both = 8 * (one + other)
        return torch.stack([both, both], 2).flatten(1, 2)

    def back(self, rows: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
        """Return coefficients of the pairs and constants for rows of one image: lower bounds."""
        least, most = _pairs(rows)
        found, constant = RELU.back(most - least, lines)
        return torch.stack([least + found, most - found], 2).flatten(1, 2), constant


def _pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    one, other = values.unflatten(1, (-1, 2)).unbind(2)
    return one, other


def _difference(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Bound the difference of each pair, rounded outwards."""
    (low, other_low), (high, other_high) = _pairs(lower), _pairs(upper)
    least, most = low - other_high, high - other_low
    infinite = torch.full_like(least, torch.inf)
    return torch.nextafter(least, -infinite), torch.nextafter(most, infinite)


def _sorted(values: Tensor) -> Tensor:
    one, other = _pairs(values)
    return torch.stack([torch.minimum(one, other), torch.maximum(one, other)], 2).flatten(1, 2)


class Leader(NamedTuple):
    """Of each window, `[B, C, L]`: the input with the largest lower bound, and what it decides.

    Args:
        place: of that input on the map.
        certain: whether no other input can exceed it.
        top: upper bound of the maximum.
    """

    place: Tensor
    certain: Tensor
    top: Tensor


class WindowMax:
    """The maximum over windows of each channel.

    Below it lies the input with the largest lower bound; above it that input, where no other can
    exceed it, else the largest upper bound.

    Args:
        layer: nn.MaxPool2d.
        shape: of its input.
    """

    terms = 0

    def __init__(self, layer: Any, shape: Shape) -> None:
        if layer.return_indices:
            raise ValueError(
                "MaxPool2d with return_indices has no relaxation: indices are no logits; leave"
                " return_indices out"
            )
        with torch.no_grad():
            self.after = layer(torch.zeros(1, *shape)).shape[1:]
        rows, columns = (self._members(layer, axis, shape) for axis in (0, 1))
        places = rows[:, None, :, None] * shape[-1] + columns[None, :, None, :]
        inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
        # Outside of the map, which ceil_mode may leave, too, lies a place behind the last one.
        places = places.where(inside, shape[-1] * shape[-2]).flatten(2).flatten(0, 1)
        self.windows = places.T.contiguous()
        self.shape = shape

    def _members(self, layer: Any, axis: int, shape: Shape) -> Tensor:
        """Return the rows or columns of each window, `[windows, taps]`; -1 outside of the map."""
        taps, hop, edge, step = (
            one if isinstance(one, int) else one[axis]
            for one in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        starts = torch.arange(self.after[-2 + axis]) * hop - edge
        found = starts.unsqueeze(1) + torch.arange(taps) * step
        return found.where((found >= 0) & (found < shape[-2 + axis]), -1)

    def unstable(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Return which inputs may be the maximum of a window where another may be it, too."""
        lead = self.lines(lower, upper)
        least = self._windows(lower).amax(2, keepdim=True)
        open_ = ~lead.certain.unsqueeze(2) & (self._windows(upper) > least)
        there = self.windows.to(lower.device).flatten().expand(*open_.shape[:2], -1)
        found = lower.new_zeros(*lower.shape[:2], self._pixels + 1)
        found.scatter_reduce_(2, there, open_.flatten(2).to(found), "amax")
        return found[:, :, :-1].reshape(lower.shape) > 0

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the values."""
        ends = (self._windows(end).amax(2) for end in (lower, upper))
        least, most = (end.reshape(len(lower), *self.after) for end in ends)
        return least, most

    def lines(self, lower: Tensor, upper: Tensor) -> Leader:
        """Return what leads each window."""
        least, most = self._windows(lower), self._windows(upper)
        value, index = least.max(2, keepdim=True)
        others = most.scatter(2, index, -torch.inf).amax(2)
        windows = self.windows.to(lower.device).expand_as(least)
        place = windows.gather(2, index).squeeze(2)
        return Leader(place, others <= value.squeeze(2), most.amax(2))

    def size(self, lower: Tensor, upper: Tensor, lines: Leader) -> Tensor:
        """Return how large the numbers behind an output are, for their rounding."""
        size = self._windows(torch.maximum(lower.abs(), upper.abs())).clamp(min=0).amax(2)
        return 2 * size.reshape(len(lower), *self.after)

    def back(self, rows: Tensor, lines: Leader) -> tuple[Tensor, Tensor]:
        """Return coefficients of the inputs and constants for rows of one image: lower bounds."""
        flat = rows.flatten(2)
        follows = (flat > 0) | lines.certain
        found = rows.new_zeros(len(rows), rows.shape[1], self._pixels)
        found.scatter_add_(2, lines.place.expand_as(flat), flat.where(follows, 0.0))
        constant = (flat * lines.top).where(~follows, 0.0).flatten(1).sum(1)
        return found.reshape(len(rows), *self.shape), constant

    @property
    def _pixels(self) -> int:
        return self.shape[-1] * self.shape[-2]

    def _windows(self, values: Tensor) -> Tensor:
        """Return the members of each window, `[B, C, K, L]`; -inf outside of the map."""
        flat = functional.pad(values.flatten(2), (0, 1), value=-torch.inf)
        return flat[:, :, self.windows.to(values.device)]
