"""Sizes that every part of the package keeps to."""

from __future__ import annotations

MAX_PIXELS = 2**27
"""The most pixels of an image, read or prepared, 134 million (11,585 × 11,585): 1.6 GB in three channels."""
