"""Adversarial attacks on predictions, one file each; they access a model through a ``Probe``."""
