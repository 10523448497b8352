"""Negative controls: what comes out where no method can know anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pellucid.evaluation.evaluation import Control
from pellucid.evaluation.judging.endpoint import Endpoint
from pellucid.evaluation.judging.own_controls import Table, by_partner, differences_of, over_shuffles, spreads_of
from pellucid.evaluation.measured import Column, Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.unit import unit_of
from pellucid.statistics import Claim

_SHOWN = (Claim.BETTER, Claim.AS_GOOD)
_CHANCE = "In up to 5 % of data sets one comes out by chance alone: it is a reason to look closer, no proof."


def controls_of(measured: Measured, patients: Sequence[str], plan: EvaluationPlan) -> tuple[Control, ...]:
    """The controls for which maps were scored; ``patients`` (N,) are the findings'."""
    unit = unit_of(measured.patients_stated)
    return tuple(
        replace(
            one,
            name=unit.words(one.name),
            what=unit.words(one.what),
            expected=unit.words(one.expected),
            no_claim=None if one.no_claim is None else unit.words(one.no_claim),
        )
        for one in _controls(measured, patients, plan)
    )


def _controls(measured: Measured, patients: Sequence[str], plan: EvaluationPlan) -> Iterator[Control]:
    facts, priors = measured.metrics[measured.primary], _own(measured, measured.priors)
    shuffled = {name: measured.shuffled[name] for name in measured.methods if name in measured.shuffled}
    if shuffled:
        there = {name: measured.shuffled[name] for name in measured.priors if name in measured.shuffled}
        found = Endpoint.of(shuffled, there, patients, facts)
        control = _control("shuffled masks", _MASKS, _MASKS_EXPECTED, found, plan)
        yield _with_shuffles(control, measured, _tables(measured), patients, plan)
    partner = measured.partner
    known = np.flatnonzero(partner >= 0)
    if shuffled and len(known):
        whose = [patients[one] for one in partner[known]]
        there = {name: column[partner[known]] for name, column in priors.items()}
        found = Endpoint.of({name: column[known] for name, column in shuffled.items()}, there, whose, facts)
        control = _control("maps shuffled between patients", _MAPS, _MAPS_EXPECTED, found, plan)
        tables = {
            name: by_partner(table, measured.partners[:, : table.shape[1]]) for name, table in _tables(measured).items()
        }
        yield _with_shuffles(control, measured, tables, patients, plan)
    untrained = {name: measured.untrained[name] for name in measured.methods if name in measured.untrained}
    if untrained:
        found = Endpoint.of(untrained, priors, patients, facts)
        control = _control("untrained network", _UNTRAINED, _UNTRAINED_EXPECTED, found, plan)
        own = _own(measured, measured.methods)
        yield replace(control, differences=differences_of(own, untrained, patients, facts, plan.seed))


def _own(measured: Measured, names: Sequence[str]) -> Mapping[str, Column]:
    """The values of methods or priors on the findings themselves."""
    columns = measured.values.get("label", {})
    return {name: columns[name][measured.primary] for name in names if measured.primary in columns.get(name, {})}


def _tables(measured: Measured) -> Mapping[str, Table]:
    """The values in all shuffles; of what was scored in one only, those of that one."""
    each = {name: measured.shuffled[name][:, None] for name in measured.methods if name in measured.shuffled}
    return {name: measured.reshuffled.get(name, table) for name, table in each.items()}


def _with_shuffles(
    control: Control, measured: Measured, tables: Mapping[str, Table], patients: Sequence[str], plan: EvaluationPlan
) -> Control:
    means = {name: over_shuffles(table) for name, table in tables.items()}
    facts, own = measured.metrics[measured.primary], _own(measured, measured.methods)
    return replace(
        control,
        differences=differences_of(own, means, patients, facts, plan.seed),
        spreads=spreads_of(tables),
    )


def _control(name: str, what: str, expected: str, endpoint: Endpoint, plan: EvaluationPlan) -> Control:
    found = endpoint.verdicts(plan)
    shown = tuple(method for method, verdict in found.items() if verdict.claim in _SHOWN)
    return Control(name, what, f"{expected} {_CHANCE}", endpoint.figures(plan.seed), shown, endpoint.why_none(plan))


_MASKS = "Each map, of methods and priors alike, is scored on a finding of another patient."
_MASKS_EXPECTED = (
    "No method is better than every prior. A method may be worse than the mean mask, which is true: findings of other "
    "patients often lie where findings usually do, and the mean mask still knows that. For the same reason a method "
    "whose maps resemble the mean mask may be as good as it."
)
_MAPS = (
    "Each finding is scored by a map of another patient, and compared with the priors' own maps of the finding's image."
)
_MAPS_EXPECTED = "No method is better than every prior: the map was made without the finding's image."
_UNTRAINED = "The same methods explain the same network with random weights, which knows nothing of the classes."
_UNTRAINED_EXPECTED = (
    "No method is better than every prior. One that is finds something in the image itself, such as edges, which is "
    "then no evidence of what the trained network uses."
)
