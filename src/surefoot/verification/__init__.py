"""Verification of networks against VNN-LIB specifications."""
