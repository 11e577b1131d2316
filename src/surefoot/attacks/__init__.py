"""Attacks: the upper end of the bracket. Plain functions, `(model, images, labels, ...) -> images`.

`fgsm`, `pgd`, `apgd` look for wrong labels, `udp` for uncertainty, `break_guarantee` for any
failure of any guarantee, `break_vote` for failures of a noise vote.
"""

from surefoot.attacks.apgd import apgd
from surefoot.attacks.guarantee import break_guarantee, break_sets
from surefoot.attacks.pgd import fgsm, pgd
from surefoot.attacks.result import AttackResult
from surefoot.attacks.udp import udp
from surefoot.attacks.vote import VoteSearch, break_vote

__all__ = [
    "AttackResult",
    "VoteSearch",
    "apgd",
    "break_guarantee",
    "break_sets",
    "break_vote",
    "fgsm",
    "pgd",
    "udp",
]
