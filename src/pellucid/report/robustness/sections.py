"""The tables of the page, and its sentences that state figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.core.attack import ATTACKS
from pellucid.errors import counted
from pellucid.evaluation.naming import parts_of
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, in_words, of, rounded
from pellucid.report.evaluation.sections.flow import NAMES, Excluded
from pellucid.report.evaluation.tables import COLUMNS, Cell, Line, Table, cell, cut
from pellucid.report.evaluation.wording import listed, name, sentence
from pellucid.report.robustness.wording import level_of
from pellucid.robustness.plan import WITHIN
from pellucid.robustness.result import CHANGE, EMPTY, HIT, MOVED, Level, Robustness, Worst
from pellucid.statistics import Interval


@dataclass(frozen=True)
class Change:
    """The tables of one change; ``unit`` says what its budgets are."""

    name: str
    unit: str
    is_attack: bool
    tables: Sequence[Table]


_SAME = 0.9995
"""The SSIM from which two maps are shown as the same."""


def changes(found: Robustness) -> list[Change]:
    """All figures of each change, by method and budget."""
    return [
        Change(change, unit, change in found.attacks, _tables(found, change)) for change, unit in found.units.items()
    ]


def _tables(found: Robustness, change: str) -> list[Table]:
    rows = {
        f"{method}, {level_of(one.level)}": one.figures
        for method in found.methods
        for one in found.at(method, change)
        if not _is_nothing(one)
    }
    return _matrix(f"{change}: by method and budget", "Method, budget", rows, found.unit)


def _is_nothing(level: Level) -> bool:
    return all(math.isnan(one.estimate) for one in level.figures.values())


def _matrix(caption: str, first: str, figures: Mapping[str, Mapping[str, Interval]], unit: Unit) -> list[Table]:
    """Tables of ``figures[row][column]``, with at most four columns each."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    parts = [columns[start : start + COLUMNS] for start in range(0, len(columns), COLUMNS)]
    tables = [[_line(row, [own.get(one) for one in part], unit) for row, own in figures.items()] for part in parts]
    return [cut(Table(caption, first, part, lines)) for part, lines in zip(parts, tables, strict=True)]


def _line(head: str, figures: Sequence[Interval | None], unit: Unit) -> Line:
    return Line(name(head), [_cell(one, unit) for one in figures])


def _cell(found: Interval | None, unit: Unit) -> Cell:
    """The cell of an estimate. Without an interval it has the estimate and why: a map that never moves has none."""
    if found is None or math.isnan(found.estimate):
        return Cell(NONE)
    if found.withheld is None:
        return cell(found, unit, "image")
    return Cell(f"{rounded(found.estimate)} (no interval: {unit.words(found.withheld)})", of(found, unit, "image"))


def within_and_between(found: Robustness) -> list[Table]:
    """For each method the SSIM between maps of different images, beside that before and after each change."""
    rows: dict[str, dict[str, Interval]] = {
        "between images": {one: found.between[one][WITHIN] for one in found.methods}
    }
    for change in found.changes:
        last = {method: found.at(method, change)[-1] for method in found.methods if found.at(method, change)}
        level = next(iter(last.values())).level if last else 0.0
        rows[f"{change}, {level_of(level)}"] = {method: one.figures[WITHIN] for method, one in last.items()}
    return _matrix("SSIM of maps, at the largest budget", "Change, budget", rows, found.unit)


def before_table(found: Robustness) -> Table:
    """What there is before any change."""
    lines = [_line(method, [own[HIT], own[EMPTY]], found.unit) for method, own in found.clean.items()]
    return Table("Before any change", "Method", (HIT, EMPTY), lines)


def together_table(found: Robustness) -> Table:
    """How far answers and maps move together under attacks."""
    lines = [
        Line(name(one.method), [cell(figure, found.unit, "changed image") for figure in (one.moved, one.held)])
        for one in found.together
    ]
    return Table(
        "Rank correlation of the change of the answer and the change of the map, under attacks",
        "Method",
        ("where the answer moved", "where it held"),
        lines,
    )


def worst_tables(found: Robustness) -> list[Table]:
    """The worst cases that were found; a map that did not move is none."""
    moved = [one for one in found.worst if one.kind == "map moved" and one.ssim < _SAME]
    stayed = [one for one in found.worst if one.kind == "answer moved"]
    captions = {
        "The map that moved most while the answer held": moved,
        "The map that moved least while the answer moved": stayed,
    }
    columns = ("change", "budget", "image", "SSIM")
    return [
        cut(Table(caption, "Method", columns, [_worst(one) for one in each]))
        for caption, each in captions.items()
        if each
    ]


def _worst(one: Worst) -> Line:
    cells = [Cell(name(one.change)), Cell(level_of(one.level)), Cell(name(one.image)), Cell(rounded(one.ssim))]
    return Line(name(one.method), cells)


def summary(found: Robustness) -> list[Markup]:
    """What was changed, and the worst of it."""
    sentences = [
        sentence(
            "{} {} were changed by {}.",
            counted(found.images, "image"),
            found.unit.of(found.patients, "image"),
            listed(map(name, found.changes)),
        )
    ]
    sentences += _most_answers(found)
    worst = [one for one in found.worst if one.kind == "map moved"]
    if worst:
        one = min(worst, key=lambda each: each.ssim)
        form = "The map that moved most while its answer held is {}’s of image {}, under {} of {}: SSIM {}."
        values = name(one.method), name(one.image), name(one.change), level_of(one.level), rounded(one.ssim)
        sentences.append(sentence(form, *values))
    return sentences


def _most_answers(found: Robustness) -> list[Markup]:
    """Under which changes most answers moved, of those that do not hold them by construction."""
    known = [one for one in found.levels if math.isfinite(one.figures[MOVED].estimate) and not _holds(one.change)]
    if not known:
        return []
    most = max((one.figures[MOVED] for one in known), key=lambda one: one.estimate)
    if most.estimate == 0:
        return [sentence("No answer moved.")]
    under = dict.fromkeys(
        f"{one.change} of {level_of(one.level)}" for one in known if one.figures[MOVED].estimate == most.estimate
    )
    share = in_words(most, found.unit) if most.withheld is None else rounded(most.estimate)
    return [sentence("Most answers moved under {}: {} of them.", listed(map(name, under)), share)]


def _holds(change: str) -> bool:
    """Whether a change is an attack that holds the answer, so that none can move."""
    attack = ATTACKS.registered().get(parts_of(change, "change")[0])
    return attack is not None and attack.holds_answer


def mean_change(found: Robustness) -> Table:
    """How far answers move on average, by change, at the largest budget; by method where an attack is on its map."""
    rows: dict[str, list[Interval]] = {}
    for change in found.changes:
        levels = {method: found.at(method, change) for method in found.methods}
        last = {method: own[-1] for method, own in levels.items() if own and not _is_nothing(own[-1])}
        each = {method: [one.figures[key] for key in (MOVED, CHANGE)] for method, one in last.items()}
        is_shared = all(own == next(iter(each.values())) for own in each.values())
        for method, own in each.items():
            head = f"{change}, {level_of(last[method].level)}" + (" (holds the answer)" if _holds(change) else "")
            rows[head if is_shared else f"{head}, on {method}"] = own
    lines = [_line(head, own, found.unit) for head, own in rows.items()]
    return cut(Table("Answers, at the largest budget", "Change, budget", (MOVED, CHANGE), lines))


def excluded(found: Robustness) -> list[Excluded]:
    """Why images are left out, and their names."""
    return [Excluded(reason, len(names), tuple(names[:NAMES])) for reason, names in found.excluded.items()]
