"""Certificates by linear relaxation: of any plain net, at linf and l2, for every guarantee.

`rules` knows each kind of layer (`affine`, `curves`, `several`), `input_set` where images may move,
`substitution` carries bounds through a net and lines back to its images, `rejections` turns bounds
on logit margins into guarantees, `relaxed_certificate` makes radii.
"""

from surefoot.certify.relaxation.affine import Affine
from surefoot.certify.relaxation.curves import Curve
from surefoot.certify.relaxation.relaxed_certificate import Effort, certify, hidden_numbers
from surefoot.certify.relaxation.rules import register

__all__ = ["Affine", "Curve", "Effort", "certify", "hidden_numbers", "register"]
