"""Lipschitz certificates: `pairwise` constants, and `certify` for every guarantee.

`norms` and `convolution` measure weights, `layers` knows each kind of layer, `graph` reads a net,
`constants` carries Lipschitz constants through it and `rounding` errors of execution, `certificate`
makes radii.
"""

from surefoot.certify.lipschitz import foreign
from surefoot.certify.lipschitz.certificate import certify, gloro
from surefoot.certify.lipschitz.constants import Estimate, pairwise
from surefoot.certify.lipschitz.convolution import convolution_bound
from surefoot.certify.lipschitz.layer_bounds import Bound, register
from surefoot.certify.lipschitz.norms import spectral_norm_bound

__all__ = [
    "Bound",
    "Estimate",
    "certify",
    "convolution_bound",
    "foreign",
    "gloro",
    "pairwise",
    "register",
    "spectral_norm_bound",
]
