"""Certificates: the lower end of the bracket, one file a method."""

from surefoot.certify.certificates import Certificates

__all__ = ["Certificates"]
