"""The answer of a network that an attack would move: by each head, the loss of a label and whether it still holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.head import over_places
from pellucid.errors import OptionError

_LEAST_CLASSES = 3
"""The fewest exclusive classes of which the difference of logits ratio is defined: it takes the three largest."""


@dataclass(frozen=True)
class _Rule:
    """The loss (N,) of rows of logits (N, C) for labels (N,), and whether (N,) they are still answered.

    Of findings that may occur together an answer is whether the label's is there: ``present`` (N,) bool.
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    holds: Callable[[Tensor, Tensor, Tensor], Tensor]


def _cross_entropy(logits: Tensor, labels: Tensor, _present: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.cross_entropy(logits, labels, reduction="none")
    # log(1 + Σ exp(z_i − z_y)), i ≠ y: from 1 − softmax(z)_y nothing is left once softmax(z)_y is rounded to 1.
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1) - _of(logits, labels)
    return torch.logaddexp(others, torch.zeros_like(others))


def _binary_cross_entropy(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    return F.softplus(-_signed(logits, labels, present))


def _of_its_sign(logits: Tensor, labels: Tensor, _present: Tensor) -> Tensor:
    return F.softplus(-_of(logits, labels))


def _negative_logarithm(probabilities: Tensor, labels: Tensor, _present: Tensor) -> Tensor:
    return -_of(probabilities, labels).clamp(min=torch.finfo(probabilities.dtype).tiny).log()


def _is_largest(logits: Tensor, labels: Tensor, _present: Tensor) -> Tensor:
    return logits.argmax(dim=1) == labels


def _keeps_sign(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    return (_of(logits, labels) > 0) == present


def _signed(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """The label's logit, positive where it speaks for the answer."""
    found = _of(logits, labels)
    return torch.where(present, found, -found)


def _of(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0]


_RULES: Mapping[str, _Rule] = {
    "softmax": _Rule(_cross_entropy, _is_largest),
    "sigmoid": _Rule(_binary_cross_entropy, _keeps_sign),
    "binary": _Rule(_of_its_sign, _is_largest),
    "probability": _Rule(_negative_logarithm, _is_largest),
}


def check_answers(head: str, classes: int) -> None:
    """Raise unless outputs of ``classes`` scores, read by ``head``, give an answer that can be moved."""
    if head not in _RULES:
        raise OptionError(
            f"an attack was asked for; head {head!r} gives values and no class that could be moved: give head=, or "
            "attack a classifier"
        )
    if head == "probability" and classes == 1:
        raise OptionError(
            "an attack was asked for; the model returns one probability, and not that of another class: attack the "
            "model that returns the logit, with head='binary'"
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network answers for B images, as its head has it, and the loss that grows as it moves away from it.

    ``labels`` (B,) are classes or findings; ``present`` (B,) bool: which findings the network takes to be there.

    | head | answer | loss of label y |
    | --- | --- | --- |
    | softmax | the class y of all | −log softmax(z)_y |
    | sigmoid | whether the finding y is there, z_y > 0 | log(1 + exp(∓z_y)) |
    | binary | the logit's sign, as y in (0, 1) | log(1 + exp(∓z)) |
    | probability | the class y of all | −log p_y |
    """

    head: str
    labels: Tensor
    present: Tensor

    @classmethod
    def of(cls, head: str, labels: Tensor, clean: Tensor) -> Answer:
        """The answer for labels (B,), of findings the one that the logits of the clean images (B, C) give."""
        return cls(head, labels, _of(over_places(clean), labels) > 0)

    @property
    def is_exclusive(self) -> bool:
        """Whether an image is of one class of several."""
        return self.head == "softmax"

    def loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The loss (N,) of logits (N, C) of images ``rows`` (N,)."""
        return self._asked(_RULES[self.head].loss, logits, rows)

    def holds(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Whether the network still answers the same for images ``rows`` (N,), whose logits (N, C) these are."""
        return self._asked(_RULES[self.head].holds, logits, rows)

    def check_ratio(self, classes: int, attack: str) -> None:
        """Raise unless the difference of logits ratio is defined: of at least three exclusive classes."""
        if not self.is_exclusive or classes < _LEAST_CLASSES:
            what = f"{classes} exclusive classes" if self.is_exclusive else f"head {self.head!r}"
            raise OptionError(
                f"attack {attack!r} was asked for; its loss takes at least {_LEAST_CLASSES} exclusive classes, the "
                f"model has {what}: use 'apgd_ce'"
            )

    def _asked(self, rule: Callable[[Tensor, Tensor, Tensor], Tensor], logits: Tensor, rows: Tensor) -> Tensor:
        own = over_places(logits)
        where = rows.to(self.labels.device)
        return rule(own, self.labels[where].to(own.device), self.present[where].to(own.device))
