"""Attack on a map (Dombrowski et al. 2019, arXiv:1906.07983): it becomes like another one that is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.attacks._on_maps import Search, apart, check_sharpness, relative, shown
from pellucid.core.attack import Attack, Outputs, Subject, all_rows, check_budget, register_attack
from pellucid.core.numbers import is_number
from pellucid.errors import OptionError, ShapeError


@register_attack("target_map")
@dataclass(frozen=True, eq=False)
class TargetMap(Attack):
    """The attack towards a target map, in the L∞ norm; the answer holds, and so do all scores as far as they can.

    With h the positive part of the label's map divided by its sum, h_t the target, and g the logits, this is minimised
    by ``steps`` steps along the gradient's sign, from a random start::

        ‖h(x′) − h_t‖² / ‖h(x) − h_t‖²  +  gamma · ‖g(x′) − g(x)‖² / ‖g(x)‖²

    The paper's loss has no denominators; here they make ``gamma`` a weight between relative changes. While the gradient
    is taken, softplus stands for ReLU, whose sharpness grows from ``beta`` to ``last_beta`` over the steps. The result
    is the image whose map is nearest to the target, by the network as it is, among those whose answer is unchanged: the
    image itself included. ``target``: "corner", a square in the first corner with a quarter of each side; "next", the
    map of the next image of the batch, and of the first for the last; or maps (B, *space) or (*space), whose positive
    part counts. ``epsilon`` is in pixels' unit, in which an image is in [0, 1]; ``step_size`` None is ε / 4. A step
    takes two passes of the method, of which one is differentiated.
    """

    moves_map: ClassVar[bool] = True
    holds_answer: ClassVar[bool] = True

    epsilon: float = 8 / 255
    steps: int = 30
    target: Literal["corner", "next"] | Tensor = "corner"
    gamma: float = 1.0
    step_size: float | None = None
    seed: int = 0
    beta: float = 10.0
    last_beta: float = 100.0

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, self.step_size, self.seed)
        check_sharpness(self.beta, self.last_beta)
        if self.beta is None or self.last_beta is None:
            raise OptionError("beta and last_beta must be above 0, got None: softplus grows from one to the other")
        if not (is_number(self.gamma) and 0 <= self.gamma < math.inf):
            raise OptionError(f"gamma must be >= 0, got {self.gamma}")
        if not isinstance(self.target, Tensor) and not (isinstance(self.target, str) and self.target in _TARGETS):
            raise OptionError(f"target {self.target!r} was asked for; it is {', '.join(_TARGETS)}, or a tensor of maps")

    def search(self, subject: Subject) -> Tensor:
        """The images whose map is nearest to the target, by answers that hold."""
        rows = all_rows(subject)
        clean = subject.outputs(subject.pixels, rows)
        maps = shown(clean.maps())
        wanted = self._wanted(maps)
        unit, length = apart(maps, wanted), clean.logits.square().sum(1)

        def objective(found: Outputs) -> Tensor:
            chosen = found.rows
            away = relative(apart(shown(found.maps()), wanted[chosen]), unit[chosen])
            other = relative((found.logits - clean.logits[chosen]).square().sum(1), length[chosen])
            return -(away + self.gamma * other)

        def near(found: Outputs) -> Tensor:
            return -apart(shown(found.maps()), wanted[found.rows])

        search = Search(subject, self.epsilon, self.steps, self.step_size, self.seed)
        return search.best(objective, near, True, self._sharpness, (subject.pixels, -unit))

    def _sharpness(self, step: int) -> float:
        share = step / max(1, self.steps - 1)
        return float(self.beta * (self.last_beta / self.beta) ** share)

    def _wanted(self, maps: Tensor) -> Tensor:
        """The target maps (B, *space)."""
        if not isinstance(self.target, Tensor):
            return _TARGETS[self.target](maps)
        if tuple(self.target.shape) not in (tuple(maps.shape), tuple(maps.shape[1:])):
            raise ShapeError(
                f"target maps {tuple(self.target.shape)} were given; the maps are {tuple(maps.shape)}: give one for "
                "each image, or one for all"
            )
        wanted = self.target.to(maps).expand(maps.shape)
        if not torch.isfinite(wanted).all() or (wanted.flatten(1).amax(1) <= 0).any():
            raise OptionError("target maps were given with values that are not finite, or of which none is positive")
        return shown(wanted)


def _corner(maps: Tensor) -> Tensor:
    wanted = torch.zeros_like(maps)
    wanted[(slice(None), *(slice(0, max(1, side // 4)) for side in maps.shape[1:]))] = 1
    return shown(wanted)


def _next(maps: Tensor) -> Tensor:
    if len(maps) == 1:
        raise OptionError("target 'next' was asked for; there is one image: give target='corner' or a map")
    return maps.roll(-1, dims=0)


_TARGETS: Mapping[str, Callable[[Tensor], Tensor]] = {"corner": _corner, "next": _next}
