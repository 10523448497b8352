"""The primary endpoint in parts of the findings: by size, by whether the model detects them, by class and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pellucid.evaluation.evaluation import Stratum
from pellucid.evaluation.judging.endpoint import Endpoint
from pellucid.evaluation.judging.figures import figure
from pellucid.evaluation.measured import Column, Finding, Measured
from pellucid.statistics import Interval, subgroups

SIZES = (0.02, 0.08)
"""The shares of the model's input at which a finding becomes medium, and large: fixed, so that no result moves them."""
_SIZE_NAMES = ("small (below 2 % of the image)", "medium (2 to 8 %)", "large (8 % and more)")
_CALLED = {True: "detected by the model", False: "not detected by the model"}


def strata_of(measured: Measured, endpoint: Endpoint, seed: int) -> tuple[Stratum, ...]:
    """The figures of each part, by method and prior; parts with fewer than 20 patients have their count only.

    The parts are by size, by ``is_called``, by class and by each group that the data set names; what is one part only
    is left out. A finding whose group is not known is in none.
    """
    return tuple(
        Stratum(kind, name, figures)
        for kind, names in _kinds(measured)
        if len({name for name in names if name is not None}) > 1
        for name, figures in _figures(names, endpoint, seed)
    )


def _kinds(measured: Measured) -> Iterator[tuple[str, Sequence[str | None]]]:
    """Each way to divide the findings, and the part (N,) that each is in."""
    findings = measured.findings
    yield "size", [size_of(one) for one in findings]
    yield "detection", [None if one.is_called is None else _CALLED[one.is_called] for one in findings]
    yield "class", [one.label for one in findings]
    groups = [measured.images[one.image].groups for one in findings]
    for column in dict.fromkeys(name for one in groups for name in one):
        yield column, [one.get(column) for one in groups]


def size_of(finding: Finding) -> str | None:
    """The name of a finding's size; None where its area is not known."""
    if not np.isfinite(finding.area):
        return None
    return _SIZE_NAMES[int(np.searchsorted(SIZES, finding.area, side="right"))]


def _figures(names: Sequence[str | None], endpoint: Endpoint, seed: int) -> Iterator[tuple[str, dict[str, Interval]]]:
    def estimate(values: Column, patients: Sequence[str]) -> Interval:
        return figure(values, endpoint.facts, patients, seed)

    every = {**endpoint.methods, **endpoint.priors}
    found = {
        method: subgroups(column, names, estimate, endpoint.patients)  # type: ignore[arg-type]  # the patients are texts
        for method, column in every.items()
    }
    order = _order(names)
    for name in order:
        yield name, {method: groups[name] for method, groups in found.items()}


def _order(names: Sequence[str | None]) -> list[str]:
    """Sizes from small to large; other parts by name."""
    there = {name for name in names if name is not None}
    return sorted(there, key=lambda name: (_SIZE_NAMES.index(name) if name in _SIZE_NAMES else 0, name))
