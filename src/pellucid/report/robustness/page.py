"""Makes the page: one HTML file without scripts, of the same parts as the page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from markupsafe import Markup

from pellucid.core.caption import NOT_FOR_DIAGNOSIS
from pellucid.report.evaluation.figures.drawing import Drawn
from pellucid.report.evaluation.page import environment_of_pages
from pellucid.report.evaluation.sections.provenance import provenance_rows
from pellucid.report.page import GENERATOR
from pellucid.report.robustness.sections import (
    before_table,
    changes,
    excluded,
    mean_change,
    summary,
    together_table,
    within_and_between,
    worst_tables,
)
from pellucid.report.templating import policy
from pellucid.robustness.result import Robustness


def page(found: Robustness, figures: Mapping[str, Drawn]) -> bytes:
    """The page of a result with its figures."""
    environment = environment_of_pages()
    style = Markup(environment.get_template("evaluation/page.css").render())  # noqa: S704  # the package's own
    made: str = environment.get_template("robustness/page.html").render(
        found=found,
        figures=figures,
        sentences=summary(found),
        excluded=excluded(found),
        mean_change=mean_change(found),
        before_table=before_table(found),
        within_and_between=within_and_between(found),
        together_table=together_table(found),
        worst_tables=worst_tables(found),
        changes=changes(found),
        provenance_rows=provenance_rows(found.provenance),
        warning=NOT_FOR_DIAGNOSIS,
        generator=f"{GENERATOR} {version('pellucid')}",
        style=style,
        policy=policy(style),
    )
    return made.encode("utf-8", "backslashreplace")
