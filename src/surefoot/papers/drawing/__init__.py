"""Figures that only the experiments of the papers draw."""
