"""FGSM (Goodfellow et al. 2015, arXiv:1412.6572): one step along the sign of the loss gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.attacks._balls import Box
from pellucid.attacks._climbing import climbed
from pellucid.core.attack import Attack, Subject, check_budget, loss_of, register_attack


@register_attack("fgsm")
@dataclass(frozen=True)
class FGSM(Attack):
    """The fast gradient sign method, an attack on the prediction in the L∞ norm.

    With the loss L of the answer y::

        x′ = clip( x + ε · sign ∂L(x, y)/∂x )    to the range of pixels

    ``epsilon`` is in pixels' unit, in which an image is in [0, 1]. It takes one forward and one backward pass.
    """

    epsilon: float = 8 / 255

    def __post_init__(self) -> None:
        """Refuse a budget below 0."""
        check_budget(self.epsilon)

    def search(self, subject: Subject) -> Tensor:
        """The images after the step."""
        ball = Box.of(subject, self.epsilon)
        return climbed(subject, ball, subject.pixels, loss_of(subject), 1, self.epsilon, early_stop=False)
