"""How far maps move when the images are moved a little: the arithmetic of the sensitivities and of the stabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.metric import EMPTY_MAP, Cases, Values
from pellucid.errors import OptionError
from pellucid.metrics._nearby import noisy, uniform

COPY_NOT_FINITE = "the map of a changed image is not finite"
ALL_CHANGED = "all changed images are predicted as other classes"


def relative_changes(cases: Cases, samples: int, radius: float) -> Tensor:
    """‖m(y) − m(x)‖₂ / ‖m(x)‖₂ of each case and each of the images y near x, (P, samples) float64."""
    clean = _numbers(cases.maps)
    made = cases.maps_of(samples, noisy(cases, uniform, radius, samples))
    moved = [distance(one, clean) for one in made]
    found: Tensor = torch.stack(moved, dim=1) / torch.linalg.vector_norm(clean, dim=1, keepdim=True)
    return found


def sensitivity(cases: Cases, changes: Tensor, figure: Tensor) -> Values:
    """A figure (P,) of relative changes (P, samples), and the cases that have none."""
    empty = cases.maps.flatten(1).eq(0).all(1)
    return Values(figure, {EMPTY_MAP: empty, COPY_NOT_FINITE: ~changes.isfinite().all(1)})


def ratio(new: Tensor, old: Tensor, least: float) -> Tensor:
    """‖(old − new) / old‖₂ of each case (P, …), with ``least`` for an old value of 0: (P,) float64."""
    old, new = _numbers(old), _numbers(new)
    found: Tensor = torch.linalg.vector_norm((old - new) / torch.where(old == 0, least, old), dim=1)
    return found


def stability(cases: Cases, numerators: list[Tensor], denominators: list[Tensor], kept: list[Tensor]) -> Values:
    """The largest ratio of each case over the copies whose prediction is kept, from a list of (P,) for each copy."""
    ratios = torch.stack(numerators, dim=1) / torch.stack(denominators, dim=1)
    same = torch.stack(kept, dim=1)
    largest = ratios.masked_fill(~same, -torch.inf).amax(1)
    broken = (~ratios.isfinite() & same).any(1)
    empty = cases.maps.flatten(1).eq(0).all(1)
    return Values(largest, {EMPTY_MAP: empty, ALL_CHANGED: ~same.any(1), COPY_NOT_FINITE: broken})


def is_kept(cases: Cases, outputs: Tensor) -> Tensor:
    """Whether changed copies with these logits (P, classes) are predicted as the images are: their largest logit."""
    return (outputs.argmax(1) == cases.outputs.argmax(1)).cpu()


def distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖₂ of each case (P, …): (P,) float64."""
    found: Tensor = torch.linalg.vector_norm(_numbers(a) - _numbers(b), dim=1)
    return found


def _numbers(values: Tensor) -> Tensor:
    """Values (P, …) as rows (P, N) of float64, which not every device has."""
    return values.flatten(1).cpu().double()


def check_least(least: float) -> None:
    """Raise ``OptionError`` unless the value in place of 0 is above it."""
    if not least > 0:
        raise OptionError(f"least must be above 0, got {least}")
