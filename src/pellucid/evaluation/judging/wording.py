"""What a verdict says to a reader who is no statistician, and what must not be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.statistics import Claim, Verdict


@dataclass(frozen=True)
class Words:
    """A verdict in whole sentences: ``means`` is what was found, ``does_not_mean`` what a reader might conclude."""

    means: str
    does_not_mean: str


def words_of(verdict: Verdict, primary: str) -> Words:
    """The sentences for a verdict on a primary metric, such as "pointing_game".

    ``Verdict.difference`` is positive where the method does better than the prior, also where lower values are better.
    """
    texts = _TEXTS[verdict.claim]
    needed = verdict.cases_needed
    facts = {
        "method": verdict.method,
        "prior": verdict.prior,
        "metric": primary,
        "margin": f"{verdict.plan.margin:g}",
        "difference": f"{verdict.plan.detectable:g}",
        "needed": ""
        if needed is None
        else f" To find a true difference of {verdict.plan.detectable:g} takes about "
        f"{needed} findings; there are {verdict.difference.count}.",
    }
    return Words(texts.means.format_map(facts), texts.does_not_mean.format_map(facts))


_TEXTS: Mapping[Claim, Words] = {
    Claim.BETTER: Words(
        "By {metric}, maps of {method} point to the findings better than every prior does, which know nothing of what "
        "the model predicts. The closest prior is {prior}.",
        "It does not mean that the map shows why the model decides, that every single map is right, or that readers "
        "do better with it.",
    ),
    Claim.WORSE: Words(
        "By {metric}, maps of {method} point to the findings worse than {prior} does, which never asks the model.",
        "It does not mean that the model is wrong: the map may fail to show what the model uses, or the model may use "
        "something else than the outlined finding.",
    ),
    Claim.AS_GOOD: Words(
        "By {metric}, maps of {method} are as good as {prior} within {margin}: neither better nor worse by more than "
        "that.",
        "It does not mean that the map is good: {prior} never asks the model, so that the map adds nothing that "
        "matters here.",
    ),
    Claim.NOT_SHOWN: Words(
        "By {metric}, these findings show neither that maps of {method} are better than every prior, nor that they "
        "are worse than the prior of the plan.{needed}",
        "It does not mean that there is no difference. The findings are too few, or disagree too often, to tell.",
    ),
}
