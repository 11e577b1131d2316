"""How a smoothing certificate spends its noise samples and its error probability."""

from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.types import ValueRange, box_of

SELECT = 1
"""Purpose of the noise that fixes the sets; streams of different purposes never meet."""
CERTIFY = 2
"""Purpose of the noise that is counted."""
DECIDE = 3
"""Purpose of the noise of a sequential test."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of a smoothing certificate, checked when made.

    Args:
        alpha: Error probability of each certificate.
        radii: l2 radii to decide, for the alternative that the selection likes best: samples are
            drawn until it is certain which of them hold, mostly a few hundred. None: the largest
            radius of each alternative.
        tolerance: Stop drawing for a largest radius where more samples could hardly add more than
            this l2 radius to it; None draws all of them.
        n_select: Noise samples that fix the sets.
        n_certify: Noise samples that are counted, or the most that a decision takes.
        seed: Seed of the noise; one stream an image, so results do not depend on batches. Where
            images come from an adversary, take one that they cannot know: `streams.system_seed()`.
        batch_size: Samples in one pass; memory does not grow with `n_certify`.
        value_range: Lowest and highest legal value of an image; None: no box.
    """

    alpha: float = 1e-3
    radii: Sequence[float] | None = None
    tolerance: float | None = None
    n_select: int = 100
    n_certify: int = 100_000
    seed: int = 0
    batch_size: int = 2000
    value_range: ValueRange = (0.0, 1.0)

    def __post_init__(self) -> None:
        box_of(self.value_range)
        if self.n_select < 1 or self.n_certify < 1 or not 0 < self.alpha < 1:
            raise ValueError(
                f"need n_select >= 1, n_certify >= 1, 0 < alpha < 1; found {self.n_select},"
                f" {self.n_certify}, {self.alpha}"
            )
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"`tolerance` must be above 0; found {self.tolerance}")
        if self.radii is None:
            return
        if not self.radii or not all(0 < radius < float("inf") for radius in self.radii):
            raise ValueError(f"`radii` must be finite and above 0; found {tuple(self.radii)}")
        if self.tolerance is not None:
            raise ValueError(
                "`tolerance` is for largest radii; decisions at radii stop when certain. Leave"
                " the radii out (--no-at-radii on the command line), or the tolerance"
            )

    @property
    def grid(self) -> list[float]:
        """Return the radii to decide, in increasing order."""
        return sorted(map(float, self.radii or ()))
