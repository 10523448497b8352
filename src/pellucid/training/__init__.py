"""Explanations of a fixed batch while a network is trained."""
