"""How a smoothing certificate is reached: whose radius, how exact, which noise."""

from dataclasses import dataclass

from surefoot.guarantees import Guarantee
from surefoot.uncertainty.vote import Rule


@dataclass(frozen=True)
class Procedure:
    """Choices of `certify` that most users leave alone.

    Args:
        rule: "argmax": the vote is the outcome with the largest probability. "majority": a label
            only with more than half of the probability, else "uncertain"; for `Local` and
            `LabelOrUncertain`.
        tolerance: of full radii: stop drawing where `n_certify` samples could hardly add more than
            this to the radius; None draws all of them.
        levels: 255 for 8-bit images: noise in whole steps of their grid, drawn without rounding,
            and its error part of the claim (`Vote.levels`). 0: floating noise, taken as exact.
    """

    rule: Rule = "argmax"
    tolerance: float | None = None
    levels: int = 0

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"`tolerance` must be above 0; found {self.tolerance}")

    def check(self, guarantee: Guarantee, *, decides: bool) -> None:
        """Raise unless these choices serve the guarantee."""
        if self.rule == "majority" and guarantee.set_valued:
            raise ValueError(
                'the rule majority answers one label or "uncertain": take local or'
                f" label-or-uncertain, not {type(guarantee).__name__}, or the rule argmax"
            )
        if self.tolerance is not None and decides:
            raise ValueError("`tolerance` is for full radii; decisions at radii stop when sure")
