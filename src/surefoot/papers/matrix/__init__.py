"""Every guarantee with every certificate, on one data set: the figure of the README."""

from surefoot.papers.matrix.matrix_rows import SCALES

__all__ = ["SCALES"]
