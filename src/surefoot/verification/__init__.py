"""Verification: networks against specifications of VNN-LIB, with proof or counterexample.

`vnnlib_text` reads specifications, `verify` decides one, `instances` a whole list of them.
"""

from surefoot.verification.counterexample import runtime_of, write_counterexample
from surefoot.verification.verify import Verdict, verify
from surefoot.verification.vnnlib_text import Specification, Violation, read_vnnlib

__all__ = [
    "Specification",
    "Verdict",
    "Violation",
    "read_vnnlib",
    "runtime_of",
    "verify",
    "write_counterexample",
]
