r"""Functions of one number between two lines: ReLU, sigmoid, tanh, GELU, ELU and the like.

A line of ANY slope s lies above f on [l, u] once its intercept is at least $\max_z f(z) - s z$
there, and that maximum is at an end, at a kink, or where $f' = s$. So slopes may be guessed, and
intercepts are proven. The slopes taken are those whose lines are nearest to f at the middle of
[l, u]: for ReLU the chord above, and 0 or 1 below (Zhang et al. 2018).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from surefoot.certify.lipschitz.layer_bounds import Shape

UNIT = 2.0**-53
TOUCHES = 8
"""Points of an interval whose tangents are tried."""
BISECTION_STEPS = 52
TANH_GELU = (math.sqrt(2 / math.pi), 0.044715)
FLAT = 1e-9
"""Intervals of smooth functions that are shorter need no better bounds."""


class Lines(NamedTuple):
    """Two lines for each number, `[B, ...]`: lower and upper, slope and intercept."""

    lower_slope: Tensor
    lower: Tensor
    upper_slope: Tensor
    upper: Tensor


@dataclass(frozen=True)
class Curve:
    """A function that acts on each number alone.

    Args:
        value: the function, in float64.
        critical: for slopes s, the points of a smooth function where f' = s; points that are no
            such do no harm.
        kinks: where a function of straight pieces bends.
        pieces: slopes of its pieces.
        terms: roundings of its execution; its error is then that of so many operations on a number
            of size 1 + |z|. 0 = exact.
        convex: whether it is; no line above it is then better than the chord.
    """

    value: Callable[[Tensor], Tensor]
    critical: Callable[[Tensor], list[Tensor]] | None = None
    kinks: tuple[float, ...] = ()
    pieces: tuple[float, ...] = ()
    terms: int = 0
    convex: bool = False

    def unstable(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Return where tighter ends would give tighter lines."""
        if self.critical is not None:
            return upper - lower > FLAT
        inside = [(lower < kink) & (upper > kink) for kink in self.kinks]
        return torch.stack(inside).any(0)

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the values."""
        least, most = self._extremes(torch.zeros_like(lower), lower, upper)
        return least, most

    def lines(self, lower: Tensor, upper: Tensor) -> Lines:
        """Return the lines nearest to the function at the middle."""
        middle = lower + (upper - lower) / 2
        best = None
        for slope in self._slopes(lower, upper, middle):
            below, above = self._extremes(slope, lower, upper)
            here = Lines(slope, below, slope, above)
            best = here if best is None else _nearer(best, here, middle)
        assert best is not None
        return best

    def tilted(self, lower: Tensor, upper: Tensor, lines: Lines, slopes: list[Tensor]) -> Lines:
        """Return lines with other slopes where the function is bent: intercepts are proven.

        Args:
            lower: ends of each number.
            upper: ditto.
            lines: at hand.
            slopes: of the lower lines and, unless the function is convex, of the upper ones.
        """
        bent = self.unstable(lower, upper)
        slope = torch.where(bent, slopes[0], lines.lower_slope)
        below = torch.where(bent, self._intercept(slopes[0], lower, upper, -1), lines.lower)
        if self.convex:
            return Lines(slope, below, lines.upper_slope, lines.upper)
        other = torch.where(bent, slopes[1], lines.upper_slope)
        above = torch.where(bent, self._intercept(slopes[1], lower, upper, 1), lines.upper)
        return Lines(slope, below, other, above)

    def _intercept(self, slope: Tensor, lower: Tensor, upper: Tensor, sign: int) -> Tensor:
        r"""Return the intercept of lines above (sign 1) or below (-1), as a function of slopes.

        Its derivative is -z at the point z where f(z) - s z is extreme.
        """
        with torch.no_grad():
            best = place = torch.zeros_like(lower)
            for turn, point in enumerate(self._points(slope, lower, upper)):
                here = self.value(point) - slope * point
                ahead = sign * here > sign * best if turn else here == here
                best, place = torch.where(ahead, here, best), torch.where(ahead, point, place)
            found = best + sign * self._uncertain(slope, lower, upper)
        return found - place * (slope - slope.detach())

    def size(self, lower: Tensor, upper: Tensor, lines: Lines) -> Tensor:
        """Return how large the numbers behind an output are, for their rounding."""
        size = torch.maximum(lower.abs(), upper.abs())
        steepest = torch.maximum(lines.lower_slope.abs(), lines.upper_slope.abs())
        return 1 + (1 + steepest) * size + torch.maximum(lines.lower.abs(), lines.upper.abs())

    def back(self, rows: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
        """Return coefficients of z and constants for rows of one image: lower bounds.

        A coefficient above 0 takes the lower line, one below the upper.
        """
        above = rows > 0
        constant = torch.where(above, lines.lower, lines.upper).mul_(rows).flatten(1).sum(1)
        return torch.where(above, lines.lower_slope, lines.upper_slope).mul_(rows), constant

    def _slopes(self, lower: Tensor, upper: Tensor, middle: Tensor) -> list[Tensor]:
        width = upper - lower
        chord = (self.value(upper) - self.value(lower)) / width.clamp(min=1e-300)
        slopes = [torch.where(width > 0, chord, 0.0)]
        slopes += [torch.full_like(lower, piece) for piece in self.pieces]
        if self.critical is not None:
            parts = [lower + width * place / (TOUCHES - 1) for place in range(TOUCHES)]
            slopes += [self._derivative(part) for part in parts]
        return slopes

    def _derivative(self, points: Tensor) -> Tensor:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            return torch.autograd.grad(self.value(points).sum(), points)[0]

    def _extremes(self, slope: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest value of f(z) - s z on [l, u], to the safe side."""
        points = self._points(slope, lower, upper)
        found = torch.stack([self.value(point) - slope * point for point in points])
        error = self._uncertain(slope, lower, upper)
        return found.amin(0) - error, found.amax(0) + error

    def _uncertain(self, slope: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return by how much an extreme value of f(z) - s z may be off."""
        size = torch.maximum(lower.abs(), upper.abs())
        # A critical point that is off by d moves the value by d squared; 1e-12 is far above that.
        error = (1e-12 if self.critical is not None else 16 * UNIT) * (1 + slope.abs()) * size
        if self.critical is not None:
            error = error + 1e-12
        elif self.terms == 0:  # without a slope every value is exact
            error = error.where(slope != 0, 0.0)
        return error

    def _points(self, slope: Tensor, lower: Tensor, upper: Tensor) -> list[Tensor]:
        """Return where f(z) - s z may be extreme on [l, u]."""
        if self.critical is not None:
            inner = self.critical(slope)
        else:
            inner = [torch.full_like(lower, kink) for kink in self.kinks]
        return [lower, upper, *(torch.clamp(point, lower, upper) for point in inner)]


def _nearer(one: Lines, other: Lines, middle: Tensor) -> Lines:
    def at(slope: Tensor, intercept: Tensor) -> Tensor:
        return slope * middle + intercept

    below = at(other.lower_slope, other.lower) > at(one.lower_slope, one.lower)
    above = at(other.upper_slope, other.upper) < at(one.upper_slope, one.upper)
    return Lines(
        torch.where(below, other.lower_slope, one.lower_slope),
        torch.where(below, other.lower, one.lower),
        torch.where(above, other.upper_slope, one.upper_slope),
        torch.where(above, other.upper, one.upper),
    )


RELU = Curve(torch.relu, kinks=(0.0,), pieces=(0.0, 1.0), convex=True)
ABSOLUTE = Curve(torch.abs, kinks=(0.0,), pieces=(-1.0, 1.0), convex=True)


def clamped(low: float, high: float) -> Curve:
    """Return the clamp to [low, high]; an end may be infinite."""
    kinks = tuple(float(end) for end in (low, high) if math.isfinite(end))
    # Both ends are rounded to the precision of the net.
    return Curve(lambda z: z.clamp(low, high), kinks=kinks, pieces=(0.0, 1.0), terms=2)


def leaky(layer: Any, shape: Shape) -> Curve:
    """Return a leaky ReLU."""
    return _leaky(float(layer.negative_slope))


def parametric(layer: Any, shape: Shape) -> Curve:
    """Return a leaky ReLU whose slope was learnt."""
    if layer.weight.numel() != 1:
        raise ValueError(
            f"PReLU with {layer.weight.numel()} slopes has no relaxation: one slope for all planes"
            " has, PReLU() or LeakyReLU"
        )
    return _leaky(float(layer.weight.detach()))


def _leaky(slope: float) -> Curve:
    return Curve(
        lambda z: torch.where(z > 0, z, slope * z),
        kinks=(0.0,),
        pieces=(slope, 1.0),
        terms=2,
        convex=slope <= 1,
    )


def _sigmoid_critical(slope: Tensor) -> list[Tensor]:
    r"""Solve $\sigma (1 - \sigma) = s$: without cancellation, the smaller root is 2 s / (1 + w)."""
    known = slope.clamp(min=1e-300, max=0.25)
    small = 2 * known / (1 + (1 - 4 * known).sqrt())
    place = small.log() - torch.log1p(-small)
    return [place, -place]


def _tanh_critical(slope: Tensor) -> list[Tensor]:
    """Solve 1 - tanh^2 = s, by tanh z = 2 sigmoid(2 z) - 1."""
    return [place / 2 for place in _sigmoid_critical(slope / 4)]


def _bent(derivative: Callable[[Tensor], Tensor], turn: float) -> Callable[[Tensor], list[Tensor]]:
    """Return the critical points of a function whose derivative turns at -turn and turn alone.

    It falls up to -turn, rises to turn, falls again; beyond 40 it is constant in float64.
    """

    def critical(slope: Tensor) -> list[Tensor]:
        found = []
        for start, end, rises in ((-40.0, -turn, -1), (-turn, turn, 1), (turn, 40.0, -1)):
            low, high = torch.full_like(slope, start), torch.full_like(slope, end)
            for _ in range(BISECTION_STEPS):
                middle = (low + high) / 2
                before = rises * (derivative(middle) - slope) < 0
                low, high = torch.where(before, middle, low), torch.where(before, high, middle)
            found.append(low)
        return found

    return critical


def _gelu_derivative(z: Tensor) -> Tensor:
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.special.ndtr(z) + z * density


def _silu_derivative(z: Tensor) -> Tensor:
    part = torch.sigmoid(z)
    return part * (1 + z * (1 - part))


def _tanh_gelu_derivative(z: Tensor) -> Tensor:
    inner = TANH_GELU[0] * (z + TANH_GELU[1] * z**3)
    steep = TANH_GELU[0] * (1 + 3 * TANH_GELU[1] * z * z)
    part = torch.tanh(inner)
    return (1 + part) / 2 + z / 2 * (1 - part * part) * steep


def gelu(layer: Any, shape: Shape) -> Curve:
    """Return GELU by the error function or by tanh: their derivatives turn at the points given."""
    if layer.approximate == "none":
        return Curve(lambda z: z * torch.special.ndtr(z), _bent(_gelu_derivative, 2**0.5), terms=16)
    critical = _bent(_tanh_gelu_derivative, 1.4185040087908284)
    return Curve(lambda z: functional.gelu(z, approximate="tanh"), critical, terms=16)


def exponential(scale: float, alpha: float) -> Curve:
    r"""Return ELU, times a scale: z above 0 and $\alpha (e^z - 1)$ below, where it bends, too."""

    def critical(slope: Tensor) -> list[Tensor]:
        known = (slope / (scale * alpha or 1.0)).clamp(min=1e-300)
        return [known.log(), torch.zeros_like(slope)]

    def value(z: Tensor) -> Tensor:
        return scale * torch.where(z > 0, z, alpha * torch.expm1(z.clamp(max=0)))

    return Curve(value, critical, terms=16)


def _hardswish_critical(slope: Tensor) -> list[Tensor]:
    """Solve (2 z + 3) / 6 = s; it bends at -3 and 3."""
    return [3 * slope - 1.5, torch.full_like(slope, -3.0), torch.full_like(slope, 3.0)]


SIGMOID = Curve(torch.sigmoid, _sigmoid_critical, terms=16)
TANH = Curve(torch.tanh, _tanh_critical, terms=16)
SELU = exponential(1.0507009873554805, 1.6732632423543772)
HARDSWISH = Curve(lambda z: z * (z + 3).clamp(0, 6) / 6, _hardswish_critical, terms=16)
HARDSIGMOID = Curve(
    lambda z: (z / 6 + 0.5).clamp(0, 1), kinks=(-3.0, 3.0), pieces=(0.0, 1 / 6), terms=8
)
SILU = Curve(lambda z: z * torch.sigmoid(z), _bent(_silu_derivative, 2.399357280515468), terms=16)
