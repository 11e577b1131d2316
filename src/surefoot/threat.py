"""What the attacker may do: move an image inside a norm ball and inside the box of legal pixels.

Not here: how the attacker looks for the move (`attacks`).
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from surefoot.types import Edge, Images, PerExample, checked_images

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Threat:
    """A ball of radius `eps` in `norm` around each image, cut with the box `[low, high]`.

    Args:
        norm: Norm of the ball, over all pixels of an image.
        eps: Radius of the ball in pixel units (an image spans `[low, high]`); 0 allows no change.
        low: Smallest legal pixel; -inf: there is none.
        high: Largest legal pixel; inf: there is none.

    Example:
        >>> Threat("linf", 0.1).project(torch.tensor([[0.9]]), torch.tensor([[0.5]]))
        tensor([[0.6000]])
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    low: Edge = 0.0
    high: Edge = 1.0

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ValueError(f'`norm` must be "linf" or "l2"; found {self.norm!r}')
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"`eps` must be finite and at least 0; found {self.eps}")
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`; found {self.low} and {self.high}")

    @property
    def reach(self) -> float:
        """Return the length to move by: eps, or less where no box with pixels is that wide.

        Squares of a larger eps overflow; balls of either radius cut the box alike.
        """
        return min(self.eps, (self.high - self.low) * WIDEST)

    def distance(self, images: Images, origins: Images) -> PerExample:
        """Measure how far each image is from its origin, in the norm, in float64."""
        difference = (images.double() - origins.double()).flatten(1)
        if self.norm == "linf":
            return difference.abs().amax(1)
        return torch.linalg.vector_norm(difference, dim=1)

    def inside(self, images: Images, origins: Images) -> Tensor:
        """Return for each image whether it lies in the ball and in the box; NaN does not."""
        pixels = images.flatten(1)
        in_box = ((pixels >= self.low) & (pixels <= self.high)).all(1)
        return in_box & (self.distance(images, origins) <= self.eps)

    def project(self, images: Images, origins: Images) -> Images:
        r"""Bring each image into the ball around its origin and into the box.

        $$ P(z) = P_{box}(P_{ball}(z)) $$
        Holds if the origin lies in the box: then the second step cannot leave the ball, and the
        result is idempotent, non-expansive and inside (for linf the nearest point; for l2 a point
        of the intersection, as in AutoAttack). The radius is shrunk by the rounding unit, so that
        the result is inside by exact arithmetic too.
        """
        offset = images - origins
        radius = self._safe_radius(origins)
        if self.norm == "linf":
            if isinstance(radius, Tensor):
                walls = spread(radius, offset)
                offset = offset.clamp(-walls, walls)
            else:
                offset = offset.clamp(-radius, radius)
        else:
            length = torch.linalg.vector_norm(offset.flatten(1), dim=1)
            offset = offset * spread(radius / length.clamp(min=radius + _TINY), offset)
        return (origins + offset).clamp(self.low, self.high)

    def steepest(self, gradients: Images) -> Images:
        r"""Return the direction of unit norm that climbs fastest.

        $$ \arg\max_{\|v\| \le 1} \langle g, v \rangle $$
        The sign of the gradient for linf, the normalised gradient for l2; 0 where the gradient
        vanishes or is not finite.
        """
        gradients = gradients.nan_to_num(0.0, 0.0, 0.0)
        if self.norm == "linf":
            return gradients.sign()
        # Scaled by the largest entry first: squares of tiny gradients would underflow to 0.
        largest = gradients.flatten(1).abs().amax(1)
        scaled = gradients / spread(largest.clamp(min=_TINY), gradients)
        length = torch.linalg.vector_norm(scaled.flatten(1), dim=1)
        return scaled / spread(length.clamp(min=_TINY), gradients)

    def random_point(self, origins: Images, generator: torch.Generator | None = None) -> Images:
        """Draw uniformly from the ball around each origin, then clip to the box.

        The numbers come from the CPU, so that a seed means the same on every device.
        """
        shape = origins.shape
        if self.norm == "linf":
            offset = torch.rand(shape, generator=generator) * 2 - 1
        else:
            direction = torch.randn(shape, generator=generator).flatten(1)
            fraction = torch.rand(len(direction), 1, generator=generator) ** (
                1 / direction.shape[1]
            )
            length = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
            offset = (fraction * direction / length).view(shape)
        return self.project(origins + self.reach * offset.to(origins), origins)

    def l2_radius(self, dimension: int) -> float:
        """Return the radius of the smallest l2 ball that holds this ball: eps, or eps sqrt(d)."""
        return self.eps if self.norm == "l2" else self.eps * math.sqrt(dimension)

    def origins(self, images: Images) -> Images:
        """Return the images to move, checked (`types.checked_images`); warn of `doubts`.

        Raises:
            ValueError: no float batch, or a pixel outside the box.
        """
        images = checked_images(images, self.low, self.high)
        for doubt in self.doubts(images):
            warnings.warn(doubt, stacklevel=3)
        return images

    def doubts(self, images: Images) -> list[str]:
        """Return what is odd about this threat for such images: sentences, mostly none."""
        pixels = images[0].numel()
        widest = (self.high - self.low) * (math.sqrt(pixels) if self.norm == "l2" else 1.0)
        found = []
        if self.eps > widest:
            found.append(
                f"{self.norm} eps {self.eps:g} is wider than the box [{self.low:g}, {self.high:g}]"
                f" ({widest:.4g}): every legal image is within reach. Is eps in units of 255? Then"
                f" divide it by 255: {self.eps / 255:.4g}"
            )
        guard = float(torch.as_tensor(self.guard(images)).max())
        if 0 < self.eps < guard / MOST_GUARD:
            found.append(
                f"rounding in {images.dtype} takes {guard:.2g} from {self.norm} eps"
                f" {self.eps:g}, more than {MOST_GUARD:.0%}: the attack searches a smaller ball."
                " Pass images in float64 (images.double())"
            )
        return found

    def walled(self, origins: Images) -> "Threat":
        """Return this threat in a finite box far around the images, where a search needs walls."""
        if math.isfinite(self.high - self.low):
            return self
        smallest, largest = (value.item() for value in torch.aminmax(origins))
        margin = 4 * self.eps + (largest - smallest) + 1.0
        low, high = max(self.low, smallest - margin), min(self.high, largest + margin)
        return replace(self, low=low, high=high)

    def _safe_radius(self, origins: Images) -> float | PerExample:
        radius = self.reach - self.guard(origins)
        return radius.clamp(min=0.0) if isinstance(radius, Tensor) else max(radius, 0.0)

    def guard(self, origins: Images) -> float | PerExample:
        """Return by how much less than eps `project` moves, so that rounding stays inside.

        A result is no larger than the box; in a wide box, or none, no larger than its image and
        eps together: then one value an image.
        """
        largest: float | Tensor = max(abs(self.low), abs(self.high))
        if largest > WIDE:
            largest = (origins.flatten(1).abs().amax(1) + self.reach).clamp(max=largest)
        pixels = origins[0].numel() if self.norm == "l2" else 1
        return torch.finfo(origins.dtype).eps * largest * math.sqrt(pixels)


WIDE = 1.0
"""In a box that reaches further, the images themselves tell how much is lost to rounding."""
WIDEST = 2.0**16
"""Widths of the box: no l2 distance within it is larger for up to 2^32 pixels."""
_TINY = 1e-38
MOST_GUARD = 0.01
"""Of eps: a larger part lost to rounding is told."""


def spread(values: Tensor, images: Tensor) -> Tensor:
    """Reshape one value an example so that it multiplies whole images."""
    return values.view(-1, *(1,) * (images.ndim - 1))
