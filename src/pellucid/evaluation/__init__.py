"""A data set in, a verdict out: whether maps are better than knowing nothing, on images whose findings are known.

``read_data`` makes ``Data`` of files: cases, and what is excluded. ``measured`` scores the maps of a model, or maps
made before, for ``Measured``: a value for each finding. ``judged`` makes an ``Evaluation`` of it by a plan: verdicts,
figures, controls. ``write`` makes the report, tables and figures.
"""

from __future__ import annotations

from pellucid.evaluation.case import Case, Data, Exclusion, Outline, Source
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.files import write_scores
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.evaluation.plan import DataFacts, EvaluationPlan
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.whole import evaluate_data

__all__ = [
    "Asked",
    "Case",
    "Data",
    "DataFacts",
    "Evaluation",
    "EvaluationPlan",
    "Exclusion",
    "Form",
    "Network",
    "Outline",
    "Source",
    "evaluate_data",
    "read_data",
    "register_form",
    "write_scores",
]
