"""What every certificate returns, whichever method made it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from surefoot.threat import Norm


@dataclass(frozen=True)
class Certificates:
    """Certified l2 radii: proofs, never estimates.

    Args:
        radii: `[B, A]` float64, in pixel units, rounded down; 0 = nothing is certified.
        sets: `[B, A, O]` the alternatives that the radii speak of.
        samples: `[B]` noise draws used; 0 for deterministic certificates.
        details: what the claim rests on: method, constants, counts, error budget.
        norm: of the radii.
    """

    radii: Tensor
    sets: Tensor
    samples: Tensor
    details: dict[str, Any] = field(default_factory=dict)
    norm: Norm = "l2"

    def __repr__(self) -> str:
        some = int((self.radius > 0).sum())
        return f"Certificates({some} of {len(self.radii)} with a radius, {self.norm})"

    @property
    def radius(self) -> Tensor:
        """Return the radius of each example, `[B]`: the largest over its alternatives."""
        return self.radii.amax(1)

    @property
    def alternative(self) -> Tensor:
        """Return the index of the alternative with the largest radius, `[B]`."""
        return self.radii.argmax(1)
