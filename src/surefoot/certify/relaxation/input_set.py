"""Where an image may move: a ball, cut with the box of legal values; and least values on it."""

from typing import NamedTuple

import torch
from torch import Tensor

from surefoot.certify.lipschitz.rounding import gamma
from surefoot.threat import Norm, Threat

UNIT = 2.0**-53
STEPS = 3
"""Of the search for the multiplier of a ball that is cut with the box."""


class InputSet(NamedTuple):
    """A set of points around each image, in float64, rounded outwards.

    Args:
        origins: the images, `[B, ...]`.
        lower: ends of the smallest box around the set.
        upper: ditto.
        eps: `[B]`, radius of the ball.
        norm: of the ball.
    """

    origins: Tensor
    lower: Tensor
    upper: Tensor
    eps: Tensor
    norm: Norm

    def of(self, here: slice) -> "InputSet":
        """Return the region of some images."""
        ends = self.lower[here], self.upper[here]
        return InputSet(self.origins[here], *ends, self.eps[here], self.norm)

    def least(self, rows: Tensor) -> Tensor:
        """Bound A x from below for rows A `[N, ...]`, as many of each image, in order: `[N]`."""
        rows = rows.flatten(1)
        origin, lower, upper = (one.flatten(1) for one in self[:3])
        middle = lower + (upper - lower) / 2
        half = torch.maximum(upper - middle, middle - lower)
        error = 4 * gamma(rows.shape[1] + 8, UNIT) * (middle.abs() + origin.abs() + half)
        size = rows.abs()
        found = products(rows, middle) - products(size, half + error)
        if self.norm == "linf":
            return found
        return torch.maximum(found, self._on_ball(rows) - products(size, error))

    def _on_ball(self, rows: Tensor) -> Tensor:
        r"""Return the dual of the least value of A x on the ball cut with the box.

        $$ \max_{\lambda \ge 0} \; A x_0 - \tfrac{\lambda}{2} \epsilon^2 +
           \sum_j \min_{d_j} A_j d_j + \tfrac{\lambda}{2} d_j^2 $$
        with d within the box. Every multiplier gives a bound; a few steps find a good one.
        """
        many = len(rows) // len(self.lower)
        origin, lower, upper = (one.flatten(1) for one in self[:3])
        down, up = (
            end if len(end) == 1 else end.repeat_interleave(many, 0)
            for end in (lower - origin, upper - origin)
        )
        eps = self.eps.repeat_interleave(many).unsqueeze(1)
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        weight = (norm / eps.clamp(min=1e-150)).clamp(min=1e-150)
        best = rows.new_full((len(rows),), -torch.inf)
        rounding = 4 * gamma(rows.shape[1] + 8, UNIT)
        for _ in range(STEPS):
            weight = weight.detach()  # any multiplier gives a bound
            move = torch.clamp(-rows / weight, down, up)
            square = move.square()
            parts = rows * move
            gain = parts.sum(1) + weight[:, 0] / 2 * (square.sum(1) - eps[:, 0] ** 2)
            error = parts.abs().sum(1) + weight[:, 0] * (square.sum(1) + eps[:, 0] ** 2)
            best = torch.maximum(best, gain - rounding * error - 1e-140)
            free = -rows / weight == move
            inside = rows.square().where(free, 0.0).sum(1, keepdim=True)
            left = eps**2 - square.where(~free, 0.0).sum(1, keepdim=True)
            good = (inside > 0) & (left > 0)
            weight = torch.where(good, (inside / left.clamp(min=1e-300)).sqrt(), weight)
            weight = weight.clamp(min=1e-150)
        return products(rows, origin) + best


def input_set_of(images: Tensor, eps: Tensor, threat: Threat) -> InputSet:
    """Return the region of each image for a radius of its own; every point that a threat allows."""
    origins = images.double()
    # A distance that is computed in float64 may be smaller than the true one by rounding.
    wider = eps.to(origins) * (1 + 4 * UNIT * (origins[0].numel() + 4)) + 1e-300
    around = wider.view(-1, *(1,) * (images.ndim - 1))
    infinite = torch.full_like(origins, torch.inf)
    lower = torch.nextafter(origins - around, -infinite).clamp(min=threat.low)
    upper = torch.nextafter(origins + around, infinite).clamp(max=threat.high)
    return InputSet(origins, lower, upper, wider, threat.norm)


def products(rows: Tensor, values: Tensor) -> Tensor:
    """Return A v for rows A `[N, F]`, as many of each image, and their values v `[B, F]`: `[N]`."""
    if len(values) == 1:
        return rows @ values[0]
    if len(values) == len(rows):
        return (rows * values).sum(1)
    return torch.bmm(rows.view(len(values), -1, rows.shape[1]), values.unsqueeze(2)).flatten()
