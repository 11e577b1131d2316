"""Zhang and Evans 2022 and what it builds on: limits of robustness, label uncertainty, errors."""

from surefoot.papers.intrinsic import cifar10h, limit_tables

SCALES = {**limit_tables.SCALES, **cifar10h.SCALES}
