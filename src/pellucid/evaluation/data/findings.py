"""Decides which cases have no finding, and which lack the outline of one; and which class a label names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pellucid.evaluation.case import Case, Exclusion, Outline
from pellucid.evaluation.data.outlines import united

NO_MASK = "no mask"
EMPTY = "the mask is empty"
_NONE: frozenset[str] = frozenset()
_BETWEEN = re.compile(r"[\s_]+|(?<=[^\W_])-(?=[^\W_])")


def settled(
    cases: Sequence[Case], empty: Mapping[str, Collection[str]] | None = None
) -> tuple[list[Case], list[Case], list[Exclusion]]:
    """The cases that have findings, those without a finding, and those that are excluded.

    ``empty`` holds the labels whose outlines are empty, by the name of the case. That is known once masks were opened;
    None: none was yet. A case with an outline that is not empty has findings, and keeps only these. Another case is
    without a finding

    - if it is stated to have no label,
    - if no label of it has an outline, that is not empty, in any case: a data set of lesions states of healthy tissue
      that it is "normal" and leaves the mask out, or black;
    - if nothing is stated of its labels and its masks are empty: they say that there is nothing.

    It is excluded if a label of it has outlines in other cases, or if nothing at all is stated of it: its outline is
    missing, and whether a map shows the finding is not known.

    >>> from pellucid.evaluation.data.image_file import ImageFile
    >>> from pellucid.evaluation.data.outlines import Boxes
    >>> from pathlib import Path
    >>> file, box = ImageFile(Path("a.png")), Boxes(((0, 0, 9, 9),))
    >>> cases = [Case("a", file, ("cyst",), {"cyst": box}), Case("b", file, ("cyst",)), Case("c", file, ("normal",))]
    >>> [case.name for case in settled(cases)[1]], settled(cases)[2]
    (['c'], [Exclusion(name='b', reason='no mask', detail='cyst')])
    """
    known = empty or {}
    kept = {case.name: _filled(case, known.get(case.name, _NONE)) for case in cases}
    outlined = {_plain(label) for findings in kept.values() for label in findings}
    with_findings, without, excluded = [], [], []
    for case in cases:
        stated = () if case.labels is None else (*case.labels, *case.findings)
        missing = [label for label in stated if _plain(label) in outlined and label]
        if kept[case.name]:
            with_findings.append(
                case if len(kept[case.name]) == len(case.findings) else replace(case, findings=kept[case.name])
            )
        elif missing or (case.labels is None and not case.findings):
            reason = EMPTY if case.findings else NO_MASK
            excluded.append(Exclusion(case.name, reason, missing[0] if missing else "nothing is stated of it"))
        else:
            without.append(replace(case, findings={}))
    return with_findings, without, excluded


def with_one_spelling(cases: Sequence[Case]) -> list[Case]:
    """The cases, each label spelled as it is first: "Cyst" and "cyst" are one, with one outline."""
    spelling: dict[str, str] = {}
    found = []
    for case in cases:
        labels = case.labels and tuple(dict.fromkeys(spelling.setdefault(_plain(one), one) for one in case.labels))
        outlines: dict[str, list[Outline]] = {}
        for label, outline in case.findings.items():
            outlines.setdefault(spelling.setdefault(_plain(label), label), []).append(outline)
        found.append(replace(case, labels=labels, findings={label: united(each) for label, each in outlines.items()}))
    return found


def matched(label: str, classes: Sequence[str], asked: Mapping[str, str] | None = None) -> str | None:
    """The class that a label names, None if none: by ``asked``, else by its name, else by its number from 0.

    Case, spaces, underscores, inner hyphens and the form of umlauts do not count.

    >>> matched("Pleural_effusion", ["nodule", "pleural effusion"]), matched("1", ["nodule", "cyst"])
    ('pleural effusion', 'cyst')
    >>> matched("Infiltrat", ["nodule", "infiltration"], {"infiltrat": "Infiltration"})
    'infiltration'
    """
    renamed = {_plain(name): given for name, given in (asked or {}).items()}
    wanted = renamed.get(_plain(label), label)
    if wanted in classes:
        return wanted
    alike = [name for name in classes if _plain(wanted) and _plain(name) == _plain(wanted)]
    if alike:
        return alike[0]
    is_number = wanted.isascii() and wanted.isdecimal() and len(wanted) < len(str(2**31))
    return classes[int(wanted)] if is_number and int(wanted) < len(classes) else None


def _plain(label: str) -> str:
    """A label without case, spaces, underscores and inner hyphens: "ER+" and "ER-" stay different."""
    return _BETWEEN.sub("", unicodedata.normalize("NFC", label.casefold()))


def _filled(case: Case, empty: Collection[str]) -> dict[str, Outline]:
    return {label: outline for label, outline in case.findings.items() if label not in empty}
