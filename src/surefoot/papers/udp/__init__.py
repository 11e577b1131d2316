"""Uncertainty Driven Perturbations: Pagliardini et al. 2022, every table and figure."""

from surefoot.papers.udp import image_tables, udp_toys

SCALES = {**udp_toys.SCALES, **image_tables.SCALES}
