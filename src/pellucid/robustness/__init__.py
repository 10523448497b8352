"""How far answers and maps move when images are changed, or attacked.

``robustness_of`` changes the images of a data set by ``pellucid.changes`` and ``pellucid.attacks`` with growing
budgets, and returns a ``Robustness``; ``pellucid.report.write_robustness`` makes a page of it.
"""

from __future__ import annotations

from pellucid.robustness.files import write_scores
from pellucid.robustness.plan import RobustnessPlan
from pellucid.robustness.result import Level, Robustness, Together, Worst
from pellucid.robustness.whole import robustness_of

__all__ = ["Level", "Robustness", "RobustnessPlan", "Together", "Worst", "robustness_of", "write_scores"]
