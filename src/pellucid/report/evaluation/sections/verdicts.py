"""What is shown of each method, in words: the claim, what it means, what it does not mean, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.errors import counted
from pellucid.evaluation.evaluation import Evaluation, Row
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import in_words, of, p_value, rounded
from pellucid.report.evaluation.sections.elsewhere import elsewhere
from pellucid.report.evaluation.wording import is_share, listed, name, sentence
from pellucid.statistics import Claim, Interval, Verdict


@dataclass(frozen=True)
class Words:
    """A claim for readers who do not read statistics: its name, what it means, and what it does not mean."""

    word: str
    sign: str
    means: str
    not_means: str


WORDS: Mapping[Claim, Words] = {
    Claim.BETTER: Words(
        "Better than every prior",
        "▲",
        "On average over these findings the maps do better in the primary endpoint than each of the priors here, which "
        "never ask the model.",
        "It does not mean that a single map is right, that a map shows why the model decides, that the method is "
        "better than another method, or that the same holds for other images or another model. The advantage may be "
        "too small to matter: read its interval. Other metrics may say otherwise: see the exploratory figures.",
    ),
    Claim.AS_GOOD: Words(
        "As good as the prior, and not shown to be better",
        "=",
        "On average over these findings a map that never asks the model does as well, within the margin.",
        "It is no praise. It does not mean that the maps are good: they were not shown to tell more about where a "
        "finding is than a map that never asks the model.",
    ),
    Claim.WORSE: Words(
        "Worse than the prior",
        "▼",
        "On average over these findings a map that never asks the model does better.",
        "It does not mean that the maps misstate what the model uses: a model may use what lies outside of a finding's "
        "outline.",
    ),
    Claim.NOT_SHOWN: Words(
        "Not shown",
        "?",
        "These findings do not decide whether the maps do better than maps that never ask the model.",
        "Not shown is not: no difference. It is not “as good as the prior” either. More cases may show an advantage, a "
        "disadvantage, or that there is hardly any.",
    ),
}


@dataclass(frozen=True)
class Said:
    """A method with its sentences, the advantage in short, and what a reader has to be warned of."""

    method: Markup
    short: Markup
    statement: Markup
    cautions: Sequence[Markup]


@dataclass(frozen=True)
class Group:
    """The methods of which the same is shown."""

    claim: Claim
    words: Words
    methods: Sequence[Said]


def groups(evaluation: Evaluation) -> list[Group]:
    """The methods by claim. Within a claim they keep their order, since they are not compared with each other."""
    judged = [(row, row.verdict) for row in evaluation.rows if row.verdict is not None]
    found = []
    for claim, words in WORDS.items():
        each = [_said(evaluation, row, verdict) for row, verdict in judged if verdict.claim is claim]
        found += [Group(claim, words, each)] if each else []
    return found


def unjudged(evaluation: Evaluation) -> list[Markup]:
    """A sentence for each method that has no verdict."""
    return [
        sentence("{}: no verdict{}. {}", name(row.method), _reason(row), _own(evaluation, row))
        for row in evaluation.rows
        if not row.is_prior and row.verdict is None
    ]


def _reason(row: Row) -> str:
    return f" ({row.no_verdict})" if row.no_verdict else ""


def primary_of(evaluation: Evaluation, row: Row) -> Interval | None:
    """The figure that a row's verdict rests on."""
    return row.figures.get(evaluation.plan.target, {}).get(evaluation.primary)


def _said(evaluation: Evaluation, row: Row, verdict: Verdict) -> Said:
    statement = sentence("{} {}", _own(evaluation, row), _statement(verdict, evaluation.unit))
    flagged = _flagged(evaluation, verdict)
    cautions = [*_small(verdict), *elsewhere(evaluation, verdict), *flagged]
    short = _short(verdict, evaluation.unit, bool(flagged), len(cautions))
    return Said(name(row.method), short, statement, cautions)


def _short(verdict: Verdict, unit: Unit, is_flagged: bool, cautions: int) -> Markup:
    """A method with its advantage, for the summary; one that passes a negative control is not named without it."""
    ending = ", but in a negative control as well" if is_flagged else ""
    ending += f" (with {counted(cautions, 'caution')}: read the verdict)" if cautions else ""
    form = "{}, by {} over {}{}"
    if verdict.claim is Claim.NOT_SHOWN:
        return sentence("{}{}", name(verdict.method), ending)
    return sentence(form, name(verdict.method), advantage(verdict, unit), name(verdict.prior), ending)


def _own(evaluation: Evaluation, row: Row) -> Markup:
    """A method's own figure, with what it fails in: a hit rate alone is read as if the rest did not count."""
    found, unit = primary_of(evaluation, row), evaluation.unit
    if found is None:
        return sentence("It has no value of the primary endpoint.")
    text = sentence("{}: {}, of {}.", name(evaluation.primary), in_words(found, unit), of(found, unit))
    if found.withheld is None and is_share(evaluation.primary):
        missed = round((1 - found.estimate) * found.count)
        text += sentence(" It does not hold for {} of {}.", missed, counted(found.count, "finding"))
    if row.failed:
        text += sentence(" For {} it has no value, which counts as a miss.", counted(row.failed, "finding"))
    return text


def advantage(verdict: Verdict, unit: Unit) -> str:
    """The difference to the prior in a method's favour, with its interval."""
    return in_words(verdict.difference, unit, signed=True)


@dataclass(frozen=True)
class _Part:
    """What differs between the statements of claims: which prior it is, what is shown, and of what the p-value is."""

    which: str
    p: Callable[[Verdict], float]
    against: str
    shown: str = ""


_PARTS: Mapping[Claim, _Part] = {
    Claim.BETTER: _Part(", the closest prior,", lambda verdict: verdict.better, " against every prior"),
    Claim.AS_GOOD: _Part("", lambda verdict: verdict.as_good, "", ": shown to be below {:g} in either direction"),
    Claim.WORSE: _Part("", lambda verdict: verdict.worse, " for worse"),
    Claim.NOT_SHOWN: _Part(", the prior that is hardest to beat here,", lambda verdict: verdict.better, ""),
}


def _statement(verdict: Verdict, unit: Unit) -> Markup:
    """The numbers that a claim rests on; where nothing is shown, with the cases that it would take."""
    part = _PARTS[verdict.claim]
    text = sentence(
        "Its advantage over {}{} is {}{}; adjusted p\N{NO-BREAK SPACE}{}{}.",
        name(verdict.prior),
        part.which,
        advantage(verdict, unit),
        part.shown.format(verdict.plan.margin),
        p_value(part.p(verdict), verdict.plan.level),
        part.against,
    )
    return sentence("{} {}", text, needed(verdict, unit)) if verdict.claim is Claim.NOT_SHOWN else text


def in_two_digits(count: int) -> int:
    """A number of cases as exactly as it is known.

    >>> in_two_digits(596), in_two_digits(98), in_two_digits(1001)
    (600, 98, 1000)
    """
    return int(float(f"{count:.2g}"))


def needed(verdict: Verdict, unit: Unit) -> Markup:
    """The cases that the difference of the plan needs, beside those that there are."""
    here = counted(verdict.difference.count, "finding")
    if verdict.cases_needed is None:
        form = "How many cases would be needed cannot be said: fewer than two {} have a value."
        return sentence(form, unit.plural)
    return sentence(
        "To find a true advantage of {:g} with a probability of 80 % takes about {} findings; there are {} here.",
        verdict.plan.detectable,
        in_two_digits(verdict.cases_needed),
        here,
    )


def _small(verdict: Verdict) -> list[Markup]:
    """That an advantage which is shown may be too small to matter."""
    low, margin = verdict.difference.low, verdict.plan.margin
    if verdict.claim is not Claim.BETTER or low >= margin:
        return []
    form = "Differences below {:g} are taken not to matter, and the interval of the advantage begins at {}: an "
    return [sentence(form + "advantage that matters is not shown.", margin, rounded(low, 2, signed=True))]


def _flagged(evaluation: Evaluation, verdict: Verdict) -> list[Markup]:
    """That a method which is better, or as good, is so where no method can know anything."""
    controls = [name(control.name) for control in evaluation.controls if verdict.method in control.shown]
    if not controls or verdict.claim not in (Claim.BETTER, Claim.AS_GOOD):
        return []
    form = "In the negative control {}, where no map can know the finding, this method is better than the priors or as "
    form += "good as one, too: read there what that may mean before relying on what is said here."
    return [sentence(form, listed(controls))]
