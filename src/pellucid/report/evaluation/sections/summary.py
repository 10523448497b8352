"""The first paragraph: what was evaluated, by which primary endpoint, and what is shown."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pellucid.errors import counted
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report.evaluation.sections.verdicts import Group
from pellucid.report.evaluation.wording import (
    TARGET_WORDS,
    about_metric,
    in_short,
    is_share,
    listed,
    metric_class,
    name,
    sentence,
)

NAMES = 8
"""The most methods that a sentence names."""


def counted_cases(evaluation: Evaluation) -> Markup:
    """What was analysed, in a sentence."""
    flow = evaluation.flow
    methods = sum(not row.is_prior for row in evaluation.rows)
    return sentence(
        "{} {} with {} were analysed, of {} given. {} {} compared with {}, which are maps that never ask the model.",
        counted(flow.images, "image"),
        evaluation.unit.of(flow.patients, "image"),
        counted(flow.findings, "finding"),
        counted(flow.given, "case"),
        counted(methods, "method"),
        "is" if methods == 1 else "are",
        counted(len(evaluation.rows) - methods, "prior"),
    )


def endpoint(evaluation: Evaluation) -> Markup:
    """The primary endpoint in words."""
    return _endpoint(evaluation, about_metric(evaluation.primary))


def endpoint_in_short(evaluation: Evaluation) -> Markup:
    """The primary endpoint in words, without the paper."""
    return _endpoint(evaluation, in_short(evaluation.primary))


def _endpoint(evaluation: Evaluation, about: str) -> Markup:
    figure = (
        "the share of findings for which it holds" if is_share(evaluation.primary) else "its mean over the findings"
    )
    tolerance = ""
    if hasattr(metric_class(evaluation.primary), "tolerance"):
        tolerance = f" The tolerance is {evaluation.plan.tolerance}."
    form = "{}. {} The figure is {}, for {}; {} are the units.{}"
    maps = TARGET_WORDS[evaluation.plan.target].lower()
    return sentence(form, name(evaluation.primary), about, figure, maps, evaluation.unit.plural, tolerance)


def shown(groups: Sequence[Group]) -> list[Markup]:
    """What is shown of which methods, in a sentence for each claim."""
    methods = sum(len(group.methods) for group in groups)
    return [
        sentence("<strong>{}</strong> ({} of {}): {}.", group.words.word, len(group.methods), methods, _names(group))
        for group in groups
    ]


def _names(group: Group) -> Markup:
    return listed([said.short for said in group.methods], NAMES)
