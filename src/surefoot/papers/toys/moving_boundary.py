r"""One boundary between two means on a line, moved by perturbed training (UDP, Theorem 4.1, B.1).

Pagliardini et al. 2022. Classes 1 and 2 sit at $\mu_1 < \mu_2$, the boundary at $w_n$. Each step
perturbs both points inside their balls, asks an oracle for a classifier between the perturbed
points, and goes a part $\eta$ of the way:
$$ w_{n+1} = w_n + \eta \, (a x_1 + (1 - a) x_2 - w_n), \quad a \sim U(0, 1) $$

- UDP stops where uncertainty is highest, a random part of the way there:
  $x_i = b_i \mu_i + (1 - b_i) t_i$, with $t_i$ the point of the ball nearest to $w_n$. The theorem
  has balls that hold the boundary, $t_i = w_n$.
- PGD climbs the loss up to the rim: $x_1 = \mu_1 + s \varepsilon$, $x_2 = \mu_2 - s \varepsilon$,
  where s = 1 if class 1 is predicted on the left, else -1. Where the points have passed each
  other, the oracle's classifier has its classes the wrong way round. (The paper says that labels
  flip; that the next classifier takes the sides of the oracle is our reading.)
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from surefoot.streams import generator

Chains = Float[Tensor, "M"]
"""One value a chain."""


@dataclass(frozen=True)
class TwoMeans:
    """The means of the two classes, and how training moves the boundary between them.

    Args:
        left: mean of class 1.
        right: mean of class 2, above `left`.
        rate: eta, in (0, 1).
    """

    left: float
    right: float
    rate: float

    def __post_init__(self) -> None:
        if not self.left < self.right or not 0 < self.rate < 1:
            raise ValueError(
                f"need left < right and 0 < rate < 1; found {self.left}, {self.right}, {self.rate}"
            )

    @property
    def middle(self) -> float:
        """Return w*, the boundary of largest margin."""
        return (self.left + self.right) / 2

    @property
    def half_gap(self) -> float:
        """Return D, half the distance of the means."""
        return (self.right - self.left) / 2

    def expected(self, boundary: Chains, eps: float) -> Chains:
        r"""Return the next boundary under UDP in expectation, given the present one.

        $$ E[w_{n+1} | w_n] = (1 - \eta) w_n + \tfrac\eta4 (\mu_1 + t_1 + \mu_2 + t_2) $$
        Where both balls hold the boundary this is the theorem,
        $(1 - \tfrac\eta2) w_n + \tfrac\eta2 w^*$, for every eps.
        """
        targets = self.target(self.left, boundary, eps) + self.target(self.right, boundary, eps)
        return (1 - self.rate) * boundary + self.rate / 4 * (self.left + self.right + targets)

    def expected_after(self, start: float, steps: int) -> float:
        r"""Return $E[w_n] = w^* + (1 - \eta / 2)^n (w_0 - w^*)$: the theorem, step after step.

        Holds for UDP while both balls hold the boundary.
        """
        return self.middle + (1 - self.rate / 2) ** steps * (start - self.middle)

    @property
    def stationary_deviation(self) -> float:
        r"""Return the standard deviation that UDP keeps: the boundary never comes to rest.

        $$ \sqrt{5 \eta D^2 / (36 - 11 \eta)} $$
        Holds after many steps, for balls that hold the boundary; derived here from
        $\mathrm{Var}(w_{n+1}) = E[((1 - \eta) w_n + \eta o)^2]$ with o the oracle's answer.
        """
        return math.sqrt(5 * self.rate / (36 - 11 * self.rate)) * self.half_gap

    def target(self, mean: float, boundary: Chains, eps: float) -> Chains:
        """Return t, the point of the ball around a mean that is nearest to the boundary."""
        return boundary.clamp(mean - eps, mean + eps)


@dataclass(frozen=True)
class Trajectories:
    """Boundaries of many chains, step by step.

    Attributes:
        boundaries: of M chains after N - 1 steps `[N, M]`, the start first.
        accuracies: of the two means `[N, M]`: 0, 1/2 or 1.
    """

    boundaries: Float[Tensor, "N M"]
    accuracies: Float[Tensor, "N M"]


def moved(
    means: TwoMeans,
    method: Literal["udp", "pgd"],
    eps: float,
    *,
    start: float,
    steps: int,
    chains: int,
    seed: int = 0,
) -> Trajectories:
    """Move the boundary of many chains, all from one start.

    Args:
        means: of the classes, and eta.
        method: how both points are perturbed.
        eps: radius of their balls.
        start: first boundary; class 1 is predicted on its left.
        steps: of training.
        chains: how many, each with draws of its own.
        seed: of the draws.
    """
    stream = generator(seed)
    boundary = torch.full((chains,), start, dtype=torch.float64)
    side = torch.ones_like(boundary)
    boundaries, accuracies = [boundary], [_accuracy(means, boundary, side)]
    for _ in range(steps):
        draws = torch.rand(3, chains, generator=stream, dtype=torch.float64)
        if method == "udp":
            first = _between(means.left, means.target(means.left, boundary, eps), draws[0])
            second = _between(means.right, means.target(means.right, boundary, eps), draws[1])
        else:
            first, second = means.left + side * eps, means.right - side * eps
            side = torch.where(first < second, 1.0, torch.where(first > second, -1.0, side))
        boundary = boundary + means.rate * (_between(first, second, draws[2]) - boundary)
        boundaries.append(boundary)
        accuracies.append(_accuracy(means, boundary, side))
    return Trajectories(torch.stack(boundaries), torch.stack(accuracies))


def _between(one: Chains | float, other: Chains, part: Chains) -> Chains:
    return part * one + (1 - part) * other


def _accuracy(means: TwoMeans, boundary: Chains, side: Chains) -> Chains:
    left, right = side * (boundary - means.left) > 0, side * (means.right - boundary) > 0
    return (left.double() + right.double()) / 2
