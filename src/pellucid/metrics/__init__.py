"""Metrics that evaluate explanations, one file each."""
