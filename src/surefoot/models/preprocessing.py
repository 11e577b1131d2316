"""What happens to images before a net sees them: part of the model, as its first layers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from surefoot.models.normalize import Normalize
from surefoot.models.resize import Resize


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation in front of the net; eps and radii stay in units of the images.

    Args:
        mean: Subtracted from the images: one number for each plane (or feature), in units of the
            images, so 0.5 and not 127.5 where they lie in [0, 1].
        std: By which they are divided then, as many numbers.
        resize: Height and width to which images are resized inside the model, before the net; one
            number for both.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not (
            all(0 < one < math.inf for one in self.std) and all(map(math.isfinite, self.mean))
        ):
            raise ValueError(
                "--mean and --std belong together, as many numbers, each std above 0; found"
                f" --mean {_listed(self.mean)} and --std {_listed(self.std)}"
            )
        if len(self.resize) > 2 or not all(one > 0 for one in self.resize):
            raise ValueError(
                "--resize takes a height and a width, or one number for both; found"
                f" {_listed(self.resize)}"
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width, or None."""
        return (self.resize[0], self.resize[-1]) if self.resize else None

    def layers(self) -> list[nn.Module]:
        """Return the layers that do it, none where nothing is asked."""
        found: list[nn.Module] = [] if self.size is None else [Resize(self.size)]
        return [*found, Normalize(self.mean, self.std)] if self.mean else found

    def before(self, net: nn.Module) -> nn.Module:
        """Return the net with these layers in front of it."""
        layers = self.layers()
        if not layers:
            return net
        whole = nn.Sequential(*layers, net)
        if getattr(net, "rejects", False):
            setattr(whole, "rejects", True)  # noqa: B010
        return whole


def _listed(numbers: Sequence[float | int]) -> str:
    return " ".join(f"{one:g}" for one in numbers) or "(nothing)"
