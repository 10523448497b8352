"""Attack on a prediction that leaves its map (after Zhang et al. 2020, arXiv:1812.00891): the answer moves unseen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.attacks._on_maps import Search, apart, check_sharpness, relative, shown
from pellucid.core.attack import Attack, Outputs, Subject, all_rows, check_budget, register_attack
from pellucid.core.numbers import is_number
from pellucid.errors import OptionError


@register_attack("held_map")
@dataclass(frozen=True)
class HeldMap(Attack):
    """An attack on the prediction in the L∞ norm that holds the map: who looks at the map sees nothing of it.

    With L the loss of the answer y, and h the positive part of y's map divided by its sum, this is maximised by
    ``steps`` steps along the gradient's sign, from a random start::

        L(x′, y) − weight · ‖h(x′) − h(x)‖² / ‖h(x)‖²

    The result is the image whose map is most like the clean one, by the network as it is, among those whose answer has
    moved; where none has, the image itself, as where another class was answered from the start. Zhang et al. aim at a
    class and hold the map of that class; here the answer moves to whichever class it can, and the map of the class that
    was answered before is held. ``beta`` and the units are as for ``topk``.
    """

    moves_map: ClassVar[bool] = True

    epsilon: float = 8 / 255
    steps: int = 30
    weight: float = 10.0
    step_size: float | None = None
    seed: int = 0
    beta: float | None = 30.0

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, self.step_size, self.seed)
        check_sharpness(self.beta)
        if not (is_number(self.weight) and 0 <= self.weight < math.inf):
            raise OptionError(f"weight must be >= 0, got {self.weight}")

    def search(self, subject: Subject) -> Tensor:
        """The images whose answer has moved with the least change of the map."""
        rows = all_rows(subject)
        unchanged = subject.outputs(subject.pixels, rows)
        clean = shown(unchanged.maps())
        length = clean.flatten(1).square().sum(1)

        def objective(found: Outputs) -> Tensor:
            away = relative(apart(shown(found.maps()), clean[found.rows]), length[found.rows])
            return subject.answer.loss(found.logits, found.rows) - self.weight * away

        def alike(found: Outputs) -> Tensor:
            return -apart(shown(found.maps()), clean[found.rows])

        search = Search(subject, self.epsilon, self.steps, self.step_size, self.seed)
        holds = subject.answer.holds(unchanged.logits, rows).to(length.device)
        before = torch.where(holds, torch.full_like(length, -torch.inf), torch.zeros_like(length))
        return search.best(objective, alike, False, lambda _: self.beta, (subject.pixels, before))
