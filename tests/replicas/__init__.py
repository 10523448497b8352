"""Replicas of every method; importing the package registers them."""

from tests.replicas import naive_attention, naive_cam, naive_gradient, naive_perturbation, naive_wrappers  # noqa: F401
