"""The bracket: attack, certificate and limit of one classifier on one data set, in one record."""

from surefoot.evaluation.record import Record, read

__all__ = ["Record", "read"]
