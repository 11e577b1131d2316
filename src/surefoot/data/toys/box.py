"""Put toy points into the box of images."""

from surefoot.data.dataset import Data
from surefoot.types import Labels, Points

UNIT = 0.25
"""Length in the box of one unit of the papers: points within [-2, 2] fit in."""


def boxed(name: str, points: Points, labels: Labels, unit: float = UNIT) -> Data:
    r"""Return points around 0 as images in [0, 1]^D, two classes, float32.

    $$ x \mapsto 1/2 + u x $$
    One factor for all axes: balls stay balls, distances shrink by `unit`.

    Raises:
        ValueError: a point falls outside the box.
    """
    images = 0.5 + unit * points.double()
    if not bool(((images >= 0) & (images <= 1)).all()):
        reach = points.abs().amax().item()
        raise ValueError(
            f"`{name}` reaches {reach:.3g}; at `unit` {unit:g} the box holds {0.5 / unit:.3g}."
            f" Give a `unit` of at most {0.5 / reach:.3g}."
        )
    return Data(images.float(), labels, classes=("lower", "upper"), name=name)
