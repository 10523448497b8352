"""Why no finding of a data set can be scored, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pellucid.errors import counted
from pellucid.evaluation.case import reasons_of
from pellucid.evaluation.scoring.sorting import NO_CLASS, Sorted, some_of
from pellucid.evaluation.scoring.survey import FAILS
from pellucid.evaluation.scoring.tolerance import NO_SPACING

_REMEDIES = {
    NO_CLASS: "say which class of the model, of {}, a label stands for, by labels={{label: class}}",
    NO_SPACING: "give the tolerance in px or in % of the diagonal",
    FAILS: "check the model's input",
}


def why_nothing(found: Sorted, classes: Sequence[str], is_drawn: bool) -> str:
    """A message for a data set without a finding that can be scored; ``is_drawn``: its images are phantoms."""
    reasons = Counter(one.reason for one in found.excluded)
    known = [reason for reason, _ in reasons.most_common() if reason in _REMEDIES]
    also, remedy = _of_those_without(found, is_drawn)
    told = reasons_of(found.excluded, also) or "no finding is stated"
    return f"no finding can be scored ({told}): {_REMEDIES[known[0]].format(some_of(classes)) if known else remedy}"


def _of_those_without(found: Sorted, is_drawn: bool) -> tuple[list[str], str]:
    """What the images are that have no finding, and what to do if there is no other reason."""
    if is_drawn and found.images:
        return [f"{counted(len(found.images), 'drawn image')} without a finding"], "draw more of them"
    empty = sum(not marked.area for one in found.surveyed for marked in one.marked)
    if not empty:
        return [], "give masks or boxes of the images"
    which = "the other" if found.excluded else "all"
    what = f"{which} {empty} masks are empty" if empty > 1 else "the mask is empty"
    return [what], "give masks that are not 0 where findings are"
