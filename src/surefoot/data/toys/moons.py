"""Toy data in the plane, for figures and for tests that must see the whole input space."""

import torch

from surefoot.data.dataset import Data

COUNTS = {"train": 1000, "test": 500}
SEEDS = {"train": 0, "test": 1}
NOISE = 0.1


def moons(split: str) -> Data:
    """Return the two moons in [0, 1]^2, float32 `[N, 2]`.

    One map serves both axes and both splits (a quarter of scikit-learn's size, centred), so that
    l2 balls stay round; the noise is 0.1 before and 0.025 after it.
    """
    from sklearn.datasets import make_moons

    x, y = make_moons(COUNTS[split], noise=NOISE, random_state=SEEDS[split])
    points = 0.5 + (torch.from_numpy(x) - torch.tensor([0.5, 0.25])) / 4
    labels = torch.from_numpy(y).long()
    return Data(points.clamp(0, 1).float(), labels, classes=("upper", "lower"), name="moons")
