"""Toys with exact margins: many small nets at once, their boundaries, margins, simplicity bias."""
