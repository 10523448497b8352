"""Attacks on predictions, one file each; they reach a model through a probe."""
