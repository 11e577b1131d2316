"""The 8x8 digits that scikit-learn carries: real images without any download."""

import torch

from surefoot.data.dataset import Data

TEST = 500


def load(split: str) -> Data:
    """Return 500 test or 1,297 train images, `[N, 1, 8, 8]`, in 17 grey levels (16 means 1.0)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(y).long()
    whole = Data(
        images, labels, classes=tuple(str(digit) for digit in range(10)), levels=16, name="digits"
    )
    test, train = whole.split(TEST, seed=0)
    return test if split == "test" else train
