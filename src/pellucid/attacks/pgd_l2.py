"""PGD in the L2 norm (Madry et al. 2018, arXiv:1706.06083): steps along the loss gradient, within a small sphere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.attacks._balls import Sphere, begun, step_of
from pellucid.attacks._climbing import climbed
from pellucid.core.attack import Attack, Subject, check_budget, loss_of, register_attack


@register_attack("pgd_l2")
@dataclass(frozen=True)
class PGDL2(Attack):
    """Projected gradient descent, an attack on the prediction in the L2 norm over the whole image.

    From a random start within ‖x′ − x‖₂ ≤ ε, or from the image itself, ``steps`` times::

        x ← P( x + step_size · g / ‖g‖₂ ),   g = ∂L(x, y)/∂x

    where P shortens the change to ε and then clips to the range. ``epsilon`` is in pixels' unit: 0.5 is usual for
    32 × 32 pixels, and it grows with the square root of their number. ``step_size`` None is ε / 4. ``early_stop``: an
    image whose answer has moved is left as it is.
    """

    epsilon: float = 0.5
    steps: int = 10
    step_size: float | None = None
    seed: int = 0
    random_start: bool = True
    early_stop: bool = False

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, self.step_size, self.seed)

    def search(self, subject: Subject) -> Tensor:
        """The images after all steps."""
        ball = Sphere.of(subject, self.epsilon)
        start = begun(ball, subject, self.seed if self.random_start else None)
        step = step_of(self.epsilon, self.step_size)
        return climbed(subject, ball, start, loss_of(subject), self.steps, step, self.early_stop)
