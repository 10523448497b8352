"""How far beside a finding a map's peak may be: in pixels, as a share of the diagonal, or in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from pellucid.errors import DataError, OptionError
from pellucid.evaluation.naming import tolerance_of

NO_SPACING = "the image states no spacing, which a tolerance in mm needs"


@dataclass(frozen=True)
class Tolerance:
    """A distance: ``unit`` is "px" (pixels of the network's input), "%" (of its diagonal) or "mm" (in the patient).

    >>> Tolerance.of("15 px"), Tolerance.of("2%").unit
    (Tolerance(value=15.0, unit='px'), '%')
    """

    value: float
    unit: str

    @classmethod
    def of(cls, text: str) -> Tolerance:
        """The distance that a text states.

        Raises:
            OptionError: it states none.
        """
        return cls(*tolerance_of(text))

    def __str__(self) -> str:
        """The number with its unit."""
        return f"{self.value:g} {self.unit}"

    def check(self, space: Sequence[int], spacing: Sequence[float] | None) -> None:
        """Check that a peak can be too far away: on a grid (*space), whose pixels have this spacing in mm.

        Raises:
            OptionError: the tolerance is half the grid's diagonal or more, the distance from its centre to a corner.
        """
        if self.unit == "mm" and spacing is None:
            return
        step = spacing if self.unit == "mm" and spacing is not None else [1.0] * len(space)
        diagonal = math.hypot(*(side * one for side, one in zip(space, step, strict=True)))
        half = 50.0 if self.unit == "%" else diagonal / 2
        if self.value >= half:
            raise OptionError(
                f"tolerance {self} was given; half the diagonal of the images is {half:.4g} {self.unit}, within which "
                "any peak may be a hit: give less"
            )

    def widened(self, mask: Tensor, spacing: Sequence[float] | None) -> Tensor:
        """A mask (*space) bool, with all pixels whose distance to one of its pixels is at most the tolerance.

        Distances are Euclidean and between the centres of pixels; ``spacing`` is that of the pixels in mm.

        Raises:
            DataError: the tolerance is in mm, and there is no spacing.
        """
        if not self.value or not bool(mask.any()):
            return mask
        if self.unit == "mm" and spacing is None:
            raise DataError(NO_SPACING)
        sampling = spacing if self.unit == "mm" else None
        limit = self.value * math.hypot(*mask.shape) / 100 if self.unit == "%" else self.value
        distances = np.asarray(distance_transform_edt(~mask.numpy(), sampling=sampling))
        return torch.from_numpy(distances <= limit)
