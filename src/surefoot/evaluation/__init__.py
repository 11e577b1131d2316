"""The bracket: attack, certificate and limit of one classifier on one data set, in one record."""

from surefoot.evaluation.attack_sweep import Contradiction
from surefoot.evaluation.bracket import bracket
from surefoot.evaluation.classifiers import Plain, Smoothed
from surefoot.evaluation.record import Record, read
from surefoot.evaluation.shards import Shard, merge

__all__ = ["Contradiction", "Plain", "Record", "Shard", "Smoothed", "bracket", "merge", "read"]
