"""From certificates of single images to a bound on many: each may fail with probability alpha.

Of 10,000 certificates at alpha = .001 about 10 may be false, and it is not known which. The
fraction of certified images is therefore no lower bound by itself; here are two that are.
"""

import torch

from surefoot.stats import lower_bound


def robust_images(certified: int, images: int, alpha: float, level: float = 0.05) -> int:
    r"""Bound from below how many of THESE images are right and robust.

    At most $q$ of the certificates are false, with q the quantile of Bin(images, alpha) at 1 -
    level: only images that are not robust can be certified falsely, independently, each with
    probability at most alpha. Count each image once: equal ones share their noise, and fail
    together (`header.data.repeats` of a record lists the rows to leave out).

    Args:
        certified: different images with a right label and a certificate.
        images: all different images.
        alpha: level of each certificate.
        level: probability that the bound fails.
    """
    from scipy.stats import binom

    _check(certified, images, alpha, level)
    return max(certified - int(binom.ppf(1 - level, images, alpha)), 0)


def robust_fraction(certified: int, images: int, alpha: float, level: float = 0.05) -> float:
    r"""Bound from below the fraction of robust images in the DISTRIBUTION the images come from.

    An image is certified with probability $s \le R + \alpha (1 - R)$, so
    $$ R \ge (L - \alpha) / (1 - \alpha) $$
    with L the Clopper-Pearson bound of s at `level`. Images are independent draws.

    Args:
        certified: images with a right label and a certificate.
        images: all of them.
        alpha: level of each certificate.
        level: probability that the bound fails.
    """
    _check(certified, images, alpha, level)
    low = lower_bound(torch.tensor([float(certified)]), images, level).item()
    return max((low - alpha) / (1 - alpha), 0.0)


def _check(certified: int, images: int, alpha: float, level: float) -> None:
    if not 0 <= certified <= images or images < 1 or not (0 <= alpha < 1 and 0 < level < 1):
        raise ValueError(
            "need 0 <= certified <= images, 0 <= alpha < 1 and 0 < level < 1; found"
            f" {certified}, {images}, {alpha}, {level}"
        )
