"""Writes the report of an evaluation: a page for people who decide whether maps are to be trusted, and its figures.

The page states what an ``Evaluation`` holds, and nothing that it does not hold. ``sections`` has one file for each
part of the page, ``figures`` the drawings.
"""

from __future__ import annotations

from pellucid.report.evaluation.writing import FIGURES, PAGE, write_report

__all__ = ["FIGURES", "PAGE", "write_report"]
