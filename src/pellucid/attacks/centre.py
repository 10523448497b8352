"""Centre attack on a map (Ghorbani et al. 2019, arXiv:1710.10547): its centre of mass moves as far as it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.attacks._on_maps import Search, check_sharpness, shown
from pellucid.core.attack import Attack, Outputs, Subject, all_rows, check_budget, register_attack


@register_attack("centre")
@dataclass(frozen=True)
class Centre(Attack):
    """The mass-centre attack in the L∞ norm: the map's centre moves away from where it was, and the answer holds.

    With h the positive part of the label's map divided by its sum, and C(x) = Σ h(x) · p over the pixels' positions p,
    D(x′) = ‖C(x′) − C(x)‖² is maximised by ``steps`` steps::

        x′ ← clip( x′ + step_size · sign ∂D(x′)/∂x′ )    to at most ε from the image, and to the range of pixels

    from a random start. ``beta``, the result, and the units are as for ``topk``.
    """

    moves_map: ClassVar[bool] = True
    holds_answer: ClassVar[bool] = True

    epsilon: float = 8 / 255
    steps: int = 30
    step_size: float | None = None
    seed: int = 0
    beta: float | None = 30.0

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, self.step_size, self.seed)
        check_sharpness(self.beta)

    def search(self, subject: Subject) -> Tensor:
        """The images whose map has moved furthest, by answers that hold."""
        centres = centres_of(shown(subject.outputs(subject.pixels, all_rows(subject)).maps()))

        def objective(found: Outputs) -> Tensor:
            return (centres_of(shown(found.maps())) - centres[found.rows]).square().sum(1)

        search = Search(subject, self.epsilon, self.steps, self.step_size, self.seed)
        before = torch.zeros_like(centres[:, 0])
        return search.best(objective, objective, True, lambda _: self.beta, (subject.pixels, before))


def centres_of(maps: Tensor) -> Tensor:
    """The centres of mass (N, axes) in pixels of maps (N, *space) whose values sum to 1.

    >>> centres_of(torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]]))
    tensor([[0., 1.]])
    """
    axes = range(1, maps.ndim)
    sums = [maps.sum([other for other in axes if other != axis]) for axis in axes]
    return torch.stack([one @ torch.arange(one.shape[1]).to(one) for one in sums], dim=1)
