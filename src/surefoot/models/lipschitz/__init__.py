"""Nets whose Lipschitz constants are small, or measured while they are trained.

`layers` holds what has no weights and Lipschitz constant 1, `weights` the constraints on weights,
the other files the nets. What a certificate may claim is measured from the weights in
`certify.lipschitz`, never taken from here: orthogonal matrices exceed norm 1 by rounding.
"""

from surefoot.models.lipschitz.convolutional import WIDTHS, GloRoNet
from surefoot.models.lipschitz.dense import GloRoMLP, LipschitzMLP
from surefoot.models.lipschitz.lipnext import LipNeXt, LipNeXtBlock
from surefoot.models.lipschitz.liresnet import LiResNet, LiResNetBlock
from surefoot.models.lipschitz.one_lipschitz import BetaAbs, MinMax, NormPool, Scale, Shift
from surefoot.models.lipschitz.weights import AOL, AddIdentity, Cayley, UnitRows

__all__ = [
    "AOL",
    "WIDTHS",
    "AddIdentity",
    "BetaAbs",
    "Cayley",
    "GloRoMLP",
    "GloRoNet",
    "LiResNet",
    "LiResNetBlock",
    "LipNeXt",
    "LipNeXtBlock",
    "LipschitzMLP",
    "MinMax",
    "NormPool",
    "Scale",
    "Shift",
    "UnitRows",
]
