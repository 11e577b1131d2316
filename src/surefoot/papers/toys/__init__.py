"""Toys with exact answers: many small nets at once, their boundaries, margins, simplicity bias."""
