"""Top-k attack on a map (Ghorbani et al. 2019, arXiv:1710.10547): its strongest pixels lose their share of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.attacks._on_maps import Search, check_sharpness, shown
from pellucid.core.attack import Attack, Outputs, Subject, all_rows, check_budget, register_attack
from pellucid.core.numbers import is_number
from pellucid.errors import OptionError


@register_attack("topk")
@dataclass(frozen=True)
class TopK(Attack):
    """The top-k attack in the L∞ norm: the map moves away from where it was strongest, and the answer holds.

    With h the positive part of the label's map divided by its sum, and T the pixels where h(x) of the image is largest,
    ``share`` of all, D(x′) = − Σ_T h(x′) is maximised by ``steps`` steps::

        x′ ← clip( x′ + step_size · sign ∂D(x′)/∂x′ )    to at most ε from the image, and to the range of pixels

    from a random start. The gradient is that of the network with softplus of sharpness ``beta`` for ReLU, since maps
    made of gradients have no slope between a ReLU's kinks; None takes the network as it is. The result is the image
    with the largest D, by the network as it is, among those whose answer is unchanged: the image itself included.
    ``epsilon`` is in pixels' unit, in which an image is in [0, 1]; ``step_size`` None is ε / 4. A step takes two passes
    of the method, of which one is differentiated.
    """

    moves_map: ClassVar[bool] = True
    holds_answer: ClassVar[bool] = True

    epsilon: float = 8 / 255
    steps: int = 30
    share: float = 0.02
    step_size: float | None = None
    seed: int = 0
    beta: float | None = 30.0

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, self.step_size, self.seed)
        check_sharpness(self.beta)
        if not (is_number(self.share) and 0 < self.share < 1):
            raise OptionError(f"share must be between 0 and 1, as the share of the pixels, got {self.share}")

    def search(self, subject: Subject) -> Tensor:
        """The images whose map has moved most, by answers that hold."""
        clean = shown(subject.outputs(subject.pixels, all_rows(subject)).maps())
        flat = clean.flatten(1)
        strongest = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1).indices

        def objective(found: Outputs) -> Tensor:
            return -shown(found.maps()).flatten(1).gather(1, strongest[found.rows]).sum(1)

        search = Search(subject, self.epsilon, self.steps, self.step_size, self.seed)
        before = -flat.gather(1, strongest).sum(1)
        return search.best(objective, objective, True, lambda _: self.beta, (subject.pixels, torch.nan_to_num(before)))
