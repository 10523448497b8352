"""PGD (Madry et al. 2018, arXiv:1706.06083): steps along the sign of the loss gradient, within a small box."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.attacks._balls import Box, begun, step_of
from pellucid.attacks._climbing import climbed
from pellucid.attacks._of_probe import OfProbe
from pellucid.core.attack import Attack, Subject, check_budget, loss_of, register_attack
from pellucid.core.probe import Probe


@register_attack("pgd")
@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent, an attack on the prediction in the L∞ norm.

    From a random start in the box |δ| ≤ ε, or from the image itself, the attack takes ``steps`` steps, with the loss L
    of the answer y::

        x ← clip( x + step_size · sign ∂L(x, y)/∂x )    to at most ε from the image, and to the range of pixels

    ``epsilon`` is in pixels' unit, in which an image is in [0, 1]. ``step_size`` None is ε / 4. The start is drawn with
    ``seed``, the same change for each image. ``early_stop``: an image whose answer has moved is left as it is.
    """

    epsilon: float = 8 / 255
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
        ball = Box.of(subject, self.epsilon)
        start = begun(ball, subject, self.seed if self.random_start else None)
        step = step_of(self.epsilon, self.step_size)
        return climbed(subject, ball, start, loss_of(subject), self.steps, step, self.early_stop)

    def perturb(self, probe: Probe, labels: Tensor | None = None) -> Tensor:
        """Adversarial images (B, C, *space) of a probe's; ``labels`` (B,), by default the model's prediction.

        Here ``epsilon`` has the unit of the model's input, the loss is the cross-entropy, and the range is [0, 1] for
        an image within it, otherwise from the image's minimum to its maximum. ``pellucid.attack`` works on pixels.

        Raises:
            TargetError: a label is none of the model's classes.
        """
        return self.search(OfProbe.of(probe, labels))
