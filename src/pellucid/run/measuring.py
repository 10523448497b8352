"""A metric's values of all cases, a few images at a time, and the values of several as ``Scores``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.core.inputs import chunks
from pellucid.core.metric import NO_SCORE, NOT_FINITE, Comparison, Metric, Values
from pellucid.core.scores import Reasons, Scores
from pellucid.run.cases import ImageCases, Judged


def measured(judged: Judged, metric: Metric) -> Values:
    """A metric's values of all cases, a few images at a time."""
    columns = judged.has_mask.shape[1]
    step = max(1, judged.session.runtime.batch_size // columns)
    parts = []
    for start, stop in chunks(len(judged.inputs), step):
        cases = judged.cases(start, stop, metric.takes)
        parts.append(_without_lost(without_infinite(metric.update(cases), cases.maps), cases))
    return _joined(parts)


def _joined(parts: Sequence[Values]) -> Values:
    """The values of all cases from those of a few at a time."""
    sizes = [len(part.values) for part in parts]
    return Values(
        torch.cat([part.values for part in parts]),
        _flags([part.missing for part in parts], sizes),
        notes=_flags([part.notes for part in parts], sizes),
        steps={step: torch.cat([part.steps[step] for part in parts]) for step in parts[0].steps},
    )


def _flags(parts: Sequence[Mapping[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The cases of each statement in all parts; a part without the statement has none."""
    names = dict.fromkeys(name for part in parts for name in part)
    none = [torch.zeros(size, dtype=torch.bool) for size in sizes]
    return {name: torch.cat([part.get(name, no).cpu() for part, no in zip(parts, none, strict=True)]) for name in names}


def without_infinite(found: Values, *maps: Tensor) -> Values:
    """The values, but none of cases whose maps (P, *space) are not finite."""
    broken = torch.stack([~one.flatten(1).isfinite().all(1) for one in maps]).any(0)
    return replace(found, missing={NOT_FINITE: broken, **found.missing}) if bool(broken.any()) else found


def _without_lost(found: Values, cases: ImageCases) -> Values:
    """The values, with the reason of those that there are not because the model gives the image no number."""
    if not bool(found.values.isnan().any()):
        return found
    lost = found.values.isnan() & ~cases.logits.isfinite().cpu()
    return replace(found, missing={**found.missing, NO_SCORE: lost})


def scores_of(
    values: Mapping[str, Values], chosen: Mapping[str, Metric] | Mapping[str, Comparison], targets: Tensor
) -> Scores:
    """The values of metrics by label, with the classes (B, K) that they are of."""
    shape = tuple(targets.shape)
    steps = {label: one.steps for label, one in values.items() if one.steps}
    return Scores(
        {label: one.values.reshape(shape) for label, one in values.items()},
        {label: _in_rows(one.reasons(), shape[1]) for label, one in values.items()},
        dict(chosen),
        targets,
        notes={label: _noted(one, shape) for label, one in values.items()},
        steps={label: {step: one.reshape(shape) for step, one in each.items()} for label, each in steps.items()},
    )


def _noted(found: Values, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Where a value has a note, (B, K) bool."""
    known = ~found.values.isnan()
    return {note: (cases.cpu() & known).reshape(shape) for note, cases in found.notes.items()}


def _in_rows(reasons: Sequence[str | None], columns: int) -> Reasons:
    return tuple(tuple(reasons[start : start + columns]) for start in range(0, len(reasons), columns))
