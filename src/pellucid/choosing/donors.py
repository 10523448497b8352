"""Which of the images lend their tissue where no reference is given: where the network sees no finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.choosing.fillings import Filling, from_others
from pellucid.core.replacement import References
from pellucid.errors import OptionError

LOW = 0.1
"""The largest score of a class with which an image counts as one without it."""
LEAST = 4
"""The fewest images that lend their tissue."""
DRAWS = 2
"""The images that lend to each."""
_FROM = 24
"""The fewest images of several classes of which a quarter of each class lends."""


def lenders(probabilities: Tensor, classes: Tensor, seed: int) -> Tensor:
    """The numbers of the images that lend, in order; none of them is scored, and there may be none.

    Where some images have a low score for every class that is explained, there is nothing to take away from them, and
    they lend. Where each shows one of several classes, a quarter of each lends to those of the other classes.

    Args:
        probabilities: of each class, (P, C).
        classes: which one is explained of each image, (P,).
        seed: of the quarter.
    """
    explained = torch.unique(classes)
    free = (probabilities[:, explained] <= LOW).all(1).nonzero()[:, 0]
    if len(free) >= LEAST:
        return free
    if len(explained) < 2 or len(classes) < _FROM:
        return free[:0]
    order = torch.randperm(len(classes), generator=_generator(seed))
    each = [order[classes[order] == number] for number in explained]
    return torch.cat([own[: len(own) // 4] for own in each]).sort().values


@dataclass(frozen=True, eq=False)
class Asked:
    """The images (P, C, *space) that are explained, the class of each (P,), and whose they are."""

    images: Tensor
    classes: Tensor
    patients: Sequence[object] | None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def chosen(self, numbers: Tensor) -> Asked:
        """Some of them."""
        patients = None if self.patients is None else [self.patients[number] for number in numbers.tolist()]
        return Asked(self.images[numbers], self.classes[numbers], patients)


@dataclass(frozen=True, eq=False)
class Tissue:
    """Whose tissue replaces: ``others`` (R, C, *space), those ``drawn`` (P, draws) for the ``scored`` images (P,).

    ``lent`` are the numbers of the images that lend, and are not scored. ``others`` None: there is none.
    """

    scored: Tensor
    lent: tuple[int, ...] = ()
    others: Tensor | None = None
    drawn: Tensor | None = None

    def filling(self) -> dict[str, Filling]:
        """The replacement, by its name; empty where there is none."""
        if self.others is None or self.drawn is None:
            return {}
        return {"tissue": from_others(self.others, self.drawn)}


def given(asked: Asked, reference: References, seed: int) -> Tissue:
    """Tissue of a reference.

    Raises:
        OptionError: it has none for some image.
        ShapeError: its images have another size.
    """
    drawn, missing = reference.drawn(asked.images, asked.classes, _generator(seed), asked.patients)
    if bool(missing.any()):
        raise OptionError(
            "a reference was given; for some image it has none without its class, of another patient and not alike: "
            "give more"
        )
    return Tissue(torch.arange(len(asked)), (), reference.images, drawn)


def lent(asked: Asked, probabilities: Tensor, least: int, seed: int) -> Tissue:
    """Tissue of some of the images, unless fewer than ``least`` would be left, or one would get none."""
    everyone = torch.arange(len(asked))
    lending = lenders(probabilities, asked.classes, seed)
    scored = everyone[~torch.isin(everyone, lending)]
    if not len(lending) or len(scored) < least:
        return Tissue(everyone)
    lender, subject = asked.chosen(lending), asked.chosen(scored)
    known = References(lender.images, probabilities[lending] > LOW, DRAWS, lender.patients)
    drawn, missing = known.drawn(subject.images, subject.classes, _generator(seed), subject.patients)
    if bool(missing.any()):
        return Tissue(everyone)
    return Tissue(scored, tuple(lending.tolist()), lender.images, drawn)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
