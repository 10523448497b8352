"""Writes the report of a ``pellucid.robustness.Robustness``: a page of the parts that an evaluation's has."""

from __future__ import annotations

from pellucid.report.robustness.writing import write_robustness

__all__ = ["write_robustness"]
