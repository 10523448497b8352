"""Figures by which explanations are judged: one file a metric."""
