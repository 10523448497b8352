"""What replaces pixels of images: zeros, the mean, a blur, or the tissue of other patients without the finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pellucid.core.likeness import alike
from pellucid.core.metric import Cases
from pellucid.core.space import gaussian
from pellucid.errors import OptionError, ShapeError, did_you_mean

NO_REFERENCE = "no reference is without the finding"
NOT_LOWERED = "replacing the whole image does not lower the score"
LEAST_FALL = 0.1
"""The fall of a class's probability that the replacement of the whole image must reach: else it removes no evidence.

Of several images the lower 95 % limit of the mean. docs/choosing.md states the networks that it was fixed on.
"""
_CELLS = 8
"""The blur's standard deviation is a side divided by this."""


def blurred(images: Tensor, cells: int = _CELLS) -> Tensor:
    """Images (B, C, *space), blurred by a Gaussian along each axis; it reflects at the edges.

    Its standard deviation is a side divided by ``cells``.
    """
    smooth = images.float()
    for axis in range(2, images.ndim):
        sigma = images.shape[axis] / cells
        smooth = gaussian(smooth, axis, sigma, round(2 * sigma), beyond="reflect")
    return smooth.to(images.dtype)


def averaged(images: Tensor) -> Tensor:
    """The mean of each channel of images (B, C, *space) in place of its pixels."""
    return images.mean(dim=tuple(range(2, images.ndim)), keepdim=True).expand_as(images)


Named = Literal["zero", "mean", "blur"]
_NAMED: Mapping[str, Callable[[Tensor], Tensor]] = {"zero": torch.zeros_like, "mean": averaged, "blur": blurred}


@dataclass(frozen=True, eq=False)
class References:
    """Images of other patients, whose tissue at the same place replaces what is taken out of an image.

    ``images`` (R, C, *space) are model inputs of the size of those that are explained. ``labels`` say which findings
    they show: (R,) whole numbers, the class of each, or (R, classes) bool or 0 and 1. An image that shows the explained
    class is not used for it, nor is the explained one or a near-duplicate of it (``pellucid.core.likeness``). None:
    none of them shows a finding. ``draws`` is the number of references for each case, drawn with the seed of
    ``evaluate``: ``replacement_drop`` is the mean over them, and the other metrics use the first. ``patients`` names
    whose each is, where some are of patients whose images are explained.

    >>> References(torch.rand(8, 3, 32, 32), torch.tensor([0, 0, 1, 2, 1, 0, 2, 1]), draws=2)
    References(8 images, draws=2)

    Raises:
        ShapeError: the images or the labels have another shape.
        OptionError: ``draws`` is below 1.
    """

    images: Tensor
    labels: Tensor | None = None
    draws: int = 1
    patients: Sequence[object] | None = None

    def __post_init__(self) -> None:
        """Refuse images and labels that do not fit."""
        images, labels = self.images, self.labels
        if not isinstance(images, Tensor) or images.ndim not in (4, 5) or not len(images):
            given = str(tuple(images.shape)) if isinstance(images, Tensor) else type(images).__name__
            raise ShapeError(f"References of {given} were given; a tensor (R, C, *space) of images was expected")
        if labels is not None and not _are_labels(labels, len(images)):
            found = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
            raise ShapeError(
                f"labels {found} were given for {len(images)} References; {(len(images),)} class numbers, or "
                f"({len(images)}, classes) of bool or 0 and 1 were expected"
            )
        if not isinstance(self.draws, int) or self.draws < 1:
            raise OptionError(f"draws={self.draws} was set; it must be a whole number of at least 1")
        if self.patients is not None and len(self.patients) != len(images):
            raise ShapeError(
                f"{len(self.patients)} patients were given for {len(images)} References: give one for each"
            )

    def __repr__(self) -> str:
        """One line, without the images."""
        return f"References({len(self.images)} images, draws={self.draws})"

    def without(self, classes: Tensor) -> Tensor:
        """Which references do not show the classes (P,): (P, R) bool. Of a callable (−1), those without any label."""
        if self.labels is None:
            return torch.ones(len(classes), len(self.images), dtype=torch.bool)
        if self.labels.ndim == 1:
            return self.labels.cpu() != classes[:, None]
        labels = self.labels.cpu() != 0
        if len(classes) and int(classes.max()) >= labels.shape[1]:
            raise OptionError(
                f"class {int(classes.max())} is explained; the labels of the References are of {labels.shape[1]} "
                "classes: give labels (R, classes) of all"
            )
        shown = torch.where(classes[:, None] >= 0, labels.T[classes.clamp(min=0)], labels.any(1))
        return ~shown

    def drawn(
        self,
        images: Tensor,
        classes: Tensor,
        generator: torch.Generator,
        patients: Sequence[object] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The numbers of the references (P, draws) for images with a class each (P,), and which have none, (P,) bool.

        A reference with the class is not drawn, nor a near-duplicate of the image, nor one of the same patient.

        Raises:
            ShapeError: the references have another size than the images.
        """
        others = self.images
        if others.shape[1:] != images.shape[1:]:
            raise ShapeError(
                f"References {tuple(others.shape)} were given; images of {tuple(images.shape[1:])} are explained, and "
                "both must have the same size"
            )
        others = others.to(images.device, images.dtype)
        usable = self.without(classes.cpu()) & ~alike(images, others).cpu() & ~self._of_patients(patients, len(images))
        order = torch.rand(len(others), generator=generator).expand_as(usable).masked_fill(~usable, torch.inf)
        chosen = order.argsort(dim=1)
        counts = usable.sum(1, keepdim=True).clamp(min=1)
        return chosen.gather(1, torch.arange(self.draws).expand(len(usable), -1) % counts), ~usable.any(1)

    def _of_patients(self, patients: Sequence[object] | None, count: int) -> Tensor:
        """Which references are of the patients of the images, (P, R) bool."""
        if patients is None or self.patients is None:
            return torch.zeros(count, len(self.images), dtype=torch.bool)
        return torch.tensor([[own == other for other in self.patients] for own in patients])


Replacement = Named | References
"""What replaces pixels: 0 in the model's input, each channel's mean, a Gaussian blur with an eighth of each side as its
standard deviation, or other patients' tissue."""


@dataclass(frozen=True, eq=False)
class StandIns:
    """What takes the place of the pixels of P images: (D, P, C, *space), and which cases have none, (P,) bool."""

    images: Tensor
    missing: Tensor

    def reasons(self) -> dict[str, Tensor]:
        """The cases without a value, by reason."""
        return {NO_REFERENCE: self.missing} if bool(self.missing.any()) else {}


def check_replacement(asked: object, option: str) -> None:
    """Raise ``OptionError`` unless something is a ``Replacement``."""
    if isinstance(asked, References) or (isinstance(asked, str) and asked in _NAMED):
        return
    hint = did_you_mean(asked, _NAMED) if isinstance(asked, str) else ""
    raise OptionError(f"{option}={asked!r} was set; it may be {', '.join(_NAMED)} or References(images, labels){hint}")


def stand_ins(replacement: Replacement, cases: Cases) -> StandIns:
    """What takes the place of the pixels of the images of some cases."""
    images = cases.images
    if isinstance(replacement, str):
        found = _NAMED[replacement](images)[None]
        return StandIns(found, torch.zeros(len(images), dtype=torch.bool, device=images.device))
    return _of_others(replacement, cases)


def _of_others(references: References, cases: Cases) -> StandIns:
    images = cases.images
    chosen, missing = references.drawn(images, cases.classes, cases.generator())
    others = references.images.to(images.device, images.dtype)
    return StandIns(others[chosen.T.to(images.device)], missing.to(images.device))


def _are_labels(labels: object, count: int) -> bool:
    if not isinstance(labels, Tensor) or labels.ndim not in (1, 2) or len(labels) != count:
        return False
    if labels.ndim == 2:
        return bool(((labels == 0) | (labels == 1)).all())
    return not labels.is_floating_point() and not labels.is_complex() and labels.dtype != torch.bool
