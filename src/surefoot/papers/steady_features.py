r"""Features that move no further than their input, to search regions among.

If |phi(x) - phi(x')| <= |x - x'| for all x and x', in the norm of the threat, then a region F of
features is a region E = {x : phi(x) in F} of inputs, and all points within eps of E have features
within eps of F. So `limits.concentration` of the features, at the same eps, bounds the expansion of
E from above.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, linear, softplus

from surefoot.models import MinMax
from surefoot.streams import own_randomness
from surefoot.threat import Norm
from surefoot.types import Points

HIDDEN = 32
STEPS = 600
LEARNING_RATE = 3e-3
ROUNDING = 1 + 1e-6
"""Weights are divided by this much more than their norm: round-off of the division."""


def block_means(images: Float[Tensor, "N K H W"], size: int, norm: Norm) -> Points:
    r"""Return the means of square blocks of pixels, scaled so that they move as far as pixels.

    $$ |\bar{x}_b - \bar{x}'_b| \le \max_i |x_i - x'_i|, \qquad
    \sum_b n\, (\bar{x}_b - \bar{x}'_b)^2 \le \sum_i (x_i - x'_i)^2 $$
    for blocks of n pixels: in l2 means are multiplied by the root of n.

    Args:
        images: their height and width are multiples of `size`.
        size: side of a block.
        norm: in which features must not move further than the images.
    """
    return avg_pool2d(images, size).flatten(1) * (size if norm == "l2" else 1)


class SteadyScore(nn.Module):
    r"""A net with one output that moves no further than its input.

    $$ s(x) = v\, m(W_2\, m(W_1 (x - \mu) + b_1) + b_2) + c $$
    m sorts pairs (MinMax), each matrix is divided by its operator norm: the largest l1 norm of a
    row in linf (every row is divided by its own), the largest singular value in l2.
    """

    def __init__(self, mean: Tensor, norm: Norm) -> None:
        super().__init__()
        self.norm = norm
        self.mean = nn.Buffer(mean.clone())
        sizes = [len(mean), HIDDEN, HIDDEN, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.sort = MinMax()

    def forward(self, points: Points) -> Float[Tensor, "N 1"]:
        """Return the score of each point."""
        hidden = points - self.mean
        for place, layer in enumerate(self.layers):
            hidden = self.sort(hidden) if place else hidden
            assert isinstance(layer, nn.Linear)
            hidden = linear(hidden, self._divided(layer.weight), layer.bias)
        return hidden

    def _divided(self, weight: Tensor) -> Tensor:
        if self.norm == "linf":
            length = weight.abs().sum(1, keepdim=True)
        else:
            length = torch.linalg.matrix_norm(weight, 2)
        return weight / (length * ROUNDING).clamp(min=1e-12)


def learn_score(
    points: Points, uncertainty: Tensor, *, gamma: float, eps: float, norm: Norm, seed: int
) -> SteadyScore:
    r"""Learn a score that is high on disputed points, and low within `eps` of all others.

    Logistic losses with margins in units of eps; points count by |LU - gamma|, both sides alike:
    $$ \sum_{LU > \gamma} w_i\, \mathrm{softplus}(-s(x_i) / \varepsilon) +
    \sum_{LU \le \gamma} w_i\, \mathrm{softplus}((s(x_i) + \varepsilon) / \varepsilon) $$

    Args:
        points: float; of the search part.
        uncertainty: label uncertainty of each.
        gamma: what counts as disputed.
        eps: size of the expansion.
        norm: of the expansion.
        seed: of weights and batches.
    """
    sign = torch.where(uncertainty > gamma, 1.0, -1.0).to(points.dtype)
    weight = (uncertainty - gamma).abs().to(points.dtype)
    for side in (1.0, -1.0):
        weight[sign == side] /= weight[sign == side].sum().clamp(min=1e-12)
    with own_randomness(seed):
        score = SteadyScore(points.mean(0), norm).to(points.dtype)
        optimiser = torch.optim.Adam(score.parameters(), lr=LEARNING_RATE)
        for _ in range(STEPS):
            some = torch.randint(len(points), (min(1_000, len(points)),))
            found = score(points[some]).squeeze(1)
            margin = torch.where(sign[some] > 0, found, -(found + eps)) / eps
            loss = (weight[some] * softplus(-margin)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return score.requires_grad_(False).eval()
