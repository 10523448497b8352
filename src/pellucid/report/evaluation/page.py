"""Makes the page: one HTML file without scripts, that loads nothing but images beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from pellucid.core.caption import NOT_FOR_DIAGNOSIS
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report.evaluation.figures.drawing import Drawn
from pellucid.report.evaluation.numbers import rounded
from pellucid.report.evaluation.sections.checks import gate_notes, gate_tables, heat_tables
from pellucid.report.evaluation.sections.controls import controls
from pellucid.report.evaluation.sections.examples import LEGEND, examples
from pellucid.report.evaluation.sections.exploratory import (
    counts_table,
    metric_tables,
    ranks_table,
    strata_tables,
    tau_table,
    tuned_table,
    why_no_agreement,
)
from pellucid.report.evaluation.sections.flow import flow_of
from pellucid.report.evaluation.sections.primary import primary_table
from pellucid.report.evaluation.sections.provenance import plan_rows, provenance_rows
from pellucid.report.evaluation.sections.published import published_tables
from pellucid.report.evaluation.sections.quality import called_tables, quality_table, quality_words
from pellucid.report.evaluation.sections.summary import counted_cases, endpoint, endpoint_in_short, shown
from pellucid.report.evaluation.sections.verdicts import groups, unjudged
from pellucid.report.evaluation.wording import about_prior, name
from pellucid.report.page import GENERATOR
from pellucid.report.templating import policy, templates
from pellucid.report.values import MAX_PATH, text


def page(evaluation: Evaluation, figures: Mapping[str, Drawn], folder: Path) -> bytes:
    """The page of an evaluation with its figures; ``folder`` is where the images of its examples are."""
    environment = environment_of_pages()
    style = Markup(environment.get_template("evaluation/page.css").render())  # noqa: S704  # the package's own
    judged = groups(evaluation)
    made: str = environment.get_template("evaluation/page.html").render(
        evaluation=evaluation,
        unit=evaluation.unit,
        figures=figures,
        **_opening(evaluation),
        groups=judged,
        shown=shown(judged),
        unjudged=unjudged(evaluation),
        priors=[(row.method, about_prior(row.method)) for row in evaluation.rows if row.is_prior],
        primary_table=primary_table(evaluation),
        **_exploratory(evaluation),
        examples=examples(evaluation, folder),
        legend=LEGEND,
        plan_rows=plan_rows(evaluation.plan),
        provenance_rows=provenance_rows(evaluation.provenance),
        warning=NOT_FOR_DIAGNOSIS,
        generator=f"{GENERATOR} {version('pellucid')}",
        style=style,
        policy=policy(style),
    )
    return made.encode("utf-8", "backslashreplace")


def _opening(evaluation: Evaluation) -> dict[str, Any]:
    """What the parts before the verdicts show."""
    return {
        "counted_cases": counted_cases(evaluation),
        "endpoint": endpoint(evaluation),
        "endpoint_in_short": endpoint_in_short(evaluation),
        "quality_table": quality_table(evaluation),
        "called_tables": called_tables(evaluation),
        "quality_words": quality_words(evaluation),
        "flow": flow_of(evaluation),
    }


def _exploratory(evaluation: Evaluation) -> dict[str, Any]:
    """What the parts after the primary endpoint show."""
    return {
        "metric_tables": metric_tables(evaluation),
        "tuned_table": tuned_table(evaluation),
        "ranks_table": ranks_table(evaluation),
        "tau_table": tau_table(evaluation),
        "why_no_agreement": why_no_agreement(evaluation),
        "published_tables": published_tables(evaluation),
        "heat_tables": heat_tables(evaluation),
        "controls": controls(evaluation),
        "gate_tables": gate_tables(evaluation),
        "gate_notes": gate_notes(evaluation),
        "strata_tables": strata_tables(evaluation),
        "counts_table": counts_table(evaluation),
    }


@cache
def environment_of_pages() -> Environment:
    """The templates of pages of evaluations, with their filters."""
    environment = templates("pellucid.report")
    environment.finalize = _finalized
    environment.filters |= {"name": name, "rounded": rounded, "svg": _svg}
    return environment


def _finalized(value: object) -> object:
    """Texts without control characters, and of a bounded length; the page's own markup as it is."""
    return text(value, MAX_PATH) if type(value) is str else value


def _svg(content: bytes) -> Markup:
    """An SVG image as a data URI."""
    return Markup(f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}")  # noqa: S704  # base64
