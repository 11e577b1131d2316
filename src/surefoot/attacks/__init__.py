"""Attacks: the upper end of the bracket. Plain functions, `(model, images, labels, ...) -> images`.

`fgsm`, `pgd`, `apgd`, `fab`, `square` look for wrong labels within a threat, `autoattack` runs the
standard ensemble, `fmn` and `ddn` look for the nearest wrong image, `udp` for uncertainty,
`break_guarantee` for any failure of any guarantee, `break_selective` for accepted errors and
refusals (`stratified` for both at once), `raise_score` and `lower_score` for unsure and for sure
images (`push_mean_score` under noise), `break_vote` for failures of a noise vote.
"""

from surefoot.attacks.apgd import apgd
from surefoot.attacks.autoattack import autoattack
from surefoot.attacks.fab import fab
from surefoot.attacks.guarantee_search import break_guarantee, break_sets
from surefoot.attacks.mean_score import push_mean_score
from surefoot.attacks.minimal import ddn, fmn
from surefoot.attacks.pgd import fgsm, pgd
from surefoot.attacks.rejection_attacks import break_selective, stratified
from surefoot.attacks.result import AttackResult
from surefoot.attacks.score import lower_score, raise_score
from surefoot.attacks.square import square
from surefoot.attacks.udp import udp
from surefoot.attacks.union import union
from surefoot.attacks.vote_attack import VoteSearch, break_vote

__all__ = [
    "AttackResult",
    "VoteSearch",
    "apgd",
    "autoattack",
    "break_guarantee",
    "break_selective",
    "break_sets",
    "break_vote",
    "ddn",
    "fab",
    "fgsm",
    "fmn",
    "lower_score",
    "pgd",
    "push_mean_score",
    "raise_score",
    "square",
    "stratified",
    "udp",
    "union",
]
