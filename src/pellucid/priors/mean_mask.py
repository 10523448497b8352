"""Mean mask, a prior: where findings of other images lie."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_prior
from pellucid.core.masks import Masks, any_finding
from pellucid.core.method import MadeFrom, Method
from pellucid.core.numbers import is_whole
from pellucid.core.probe import Probe
from pellucid.core.space import scale
from pellucid.core.target import Targets
from pellucid.errors import OptionError, ShapeError
from pellucid.priors._blur import blurred, check_sigma
from pellucid.statistics.arrays import codes_of

ENOUGH = 20
"""So many masks of a validation split make a mean mask; with fewer, one patient of the test split is left out."""
SIGMA = 0.02
"""The standard deviation of the blur, in sides of the image."""
WIDEST = 0.25
"""The largest one by Scott's rule."""


@register_prior("mean_mask")
@dataclass(frozen=True, eq=False)
class MeanMask(Method):
    """The prior that a finding is where findings usually are: the mean of the masks of other images.

    With M_i the masks, and G a Gaussian of standard deviation σ times the side::

        map = G * ( 1/N Σ_i M_i )

    ``masks`` are those of images of **other patients**, such as a validation split's, at the size of the model's input:
    all forms that ``evaluate`` takes, or the path of a .npy file with an array (N, *space). Masks of all classes count
    alike, and left and right are not exchanged. The map is (B, 1, *space), the same for every image and class. It never
    asks the model and never sees the image. ``sigma`` is σ, in sides of the image.

    **Not the masks of the images that are judged**: each image's map would hold its own mask, and hit where knowing
    nothing does not. ``evaluate(model, images, "mean_mask", masks=masks)`` makes each image's map from the masks of the
    other images; ``mean_mask_maps`` from those of the other patients, where one has several images.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> masks = torch.zeros(20, 64, 64)
    >>> masks[:, 40:50, 20:30] = 1
    >>> found = pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method=MeanMask(masks))
    >>> found.heatmaps[0, 0].argmax() // 64, found.heatmaps[0, 0].argmax() % 64
    (tensor(44), tensor(24))
    """

    masks: Masks | str | None = field(default=None, repr=False)
    sigma: float = SIGMA

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    made_from: ClassVar[MadeFrom] = "masks"

    def __post_init__(self) -> None:
        """Read the masks' file, and refuse to be without masks."""
        check_sigma(self.sigma)
        if isinstance(self.masks, str):
            object.__setattr__(self, "masks", _read(self.masks))  # frozen
        if self.masks is not None and (not hasattr(self.masks, "__len__") or getattr(self.masks, "ndim", 1) == 0):
            raise OptionError(
                f"prior 'mean_mask' was given masks of type {type(self.masks).__name__}; a tensor, an array or a list "
                "with one entry an image was expected"
            )
        if self.masks is None or not len(self.masks):
            raise OptionError(
                "prior 'mean_mask' was asked for without masks; it is made from those of other patients: write "
                "pellucid.priors.MeanMask(masks), or set its option masks=PATH.npy"
            )

    @classmethod
    def of_others(cls, masks: Masks, space: Sequence[int]) -> Tensor:
        """The maps (B, *space) of B images from their masks, each from those of the others: ``mean_mask_maps``.

        Images without a finding take no part.
        """
        own = any_finding(masks, space)
        known = own.flatten(1).any(1)
        found, each = own[known], range(int(known.sum()))
        maps = torch.empty(own.shape)
        maps[known] = mean_mask_maps(found, each, space)
        maps[~known] = _heatmap(found, each, None)
        return maps

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-blind
        """The maps (B, 1, *space)."""
        images = probe.inputs.images
        found = any_finding(self.masks, images.shape[2:]).float().mean(0)  # type: ignore[arg-type]  # read if a path
        found = blurred(found[None], self.sigma).to(images.device)
        return Attribution(found.expand(len(images), 1, *found.shape[1:]))


def mean_mask_maps(
    masks: Masks,
    patients: Sequence[Hashable] | npt.NDArray[Any] | Tensor,
    space: Sequence[int],
    *,
    validation: Masks | None = None,
    sigma: float | None = None,
) -> Tensor:
    """The mean mask for each of B images, as heatmaps (B, *space) in [0, 1] for ``evaluate``.

    Args:
        masks: the masks of the images that are judged, in the forms that ``evaluate`` takes.
        patients: the patient of each image.
        space: the size of the model's input.
        validation: the masks of a validation split, of other patients. Where there are at least 20, all images get
            their mean; else each gets the mean over the images of all patients but its own.
        sigma: of the blur, in sides of the image; None: Scott's rule (``bandwidth``).

    Raises:
        OptionError: there is one patient only, or an image has none (None, NaN); ``sigma`` or ``space`` is none.
        ShapeError: there are more or fewer patients than masks, or the masks are of another size.

    >>> masks = torch.zeros(3, 8, 8)
    >>> masks[0, 2, 2] = masks[1, 2, 2] = masks[2, 6, 5] = 1
    >>> [divmod(int(one.argmax()), 8) for one in mean_mask_maps(masks, ["a", "a", "b"], (8, 8))]
    [(6, 5), (6, 5), (2, 2)]
    """
    if sigma is not None:
        check_sigma(sigma)
    if not isinstance(space, Sequence) or not all(is_whole(side) and side > 0 for side in space):
        raise OptionError(f"space={space!r} was given; write the size of the model's input, as in (224, 224)")
    own = any_finding(masks, space)
    names = codes_of(patients).tolist()
    if len(names) != len(own):
        raise ShapeError(f"{len(names)} patients and masks of {len(own)} images were given; name one for each image")
    others = None if validation is None else any_finding(validation, space)
    if others is not None and len(others) >= ENOUGH:
        return _heatmap(others, range(len(others)), sigma).expand(own.shape)
    if len(set(names)) < 2:
        raise OptionError(
            f"masks of {len(set(names))} patients were given; the mean mask is made from those of other patients: give "
            f"at least 2 patients, or validation= with at least {ENOUGH} masks"
        )
    each = {}
    for name in dict.fromkeys(names):
        kept = [number for number, other in enumerate(names) if other != name]
        each[name] = _heatmap(own[kept], [names[number] for number in kept], sigma)
    return torch.stack([each[name] for name in names])


def bandwidth(variances: Tensor, patients: int) -> float:
    """The standard deviation of the blur in sides of the image, by Scott's rule for densities (1992).

    ``variances`` (axes,) are those of the masks' centres, in sides: with s their roots, the mean of s over d axes times
    m^(−1/(d+4)) for m patients; at least 0.02 and at most 0.25.

    With little blur the peak follows single masks, and moves away from a mask that is left out: so the hits of
    different patients depend on one another. In simulated studies of 25 and 50 patients with a blur of 0.02, a method
    that was no better than the mean mask was found to be better in 9 to 14 %.

    >>> round(bandwidth(torch.tensor([0.04, 0.04]), patients=64), 3)
    0.1
    """
    spread = float(variances.clamp(min=0).sqrt().mean())
    return min(max(spread * float(patients ** (-1 / (len(variances) + 4))), SIGMA), WIDEST)


def centres(masks: Tensor) -> Tensor:
    """The centres (N, axes) float64 of masks (N, *space) in sides of the image; NaN of empty ones."""
    sides = torch.tensor(masks.shape[1:], dtype=torch.float64)
    return torch.stack([(mask.nonzero().double().mean(0) + 0.5) / sides for mask in masks])


def _heatmap(masks: Tensor, patients: Sequence[Hashable], sigma: float | None) -> Tensor:
    """The mean of masks (N, *space) as a heatmap (*space)."""
    if sigma is None:
        known = masks[masks.flatten(1).any(1)]
        sigma = WIDEST if len(known) < 2 else bandwidth(centres(known).var(0), len(set(patients)))
    return mean_mask_heatmaps(masks.float().mean(0)[None], sigma)[0]


def mean_mask_heatmaps(means: Tensor, sigma: float = SIGMA) -> Tensor:
    """Means of masks (B, *space) as the prior's heatmaps: blurred, and scaled to [0, 1]."""
    return scale(blurred(means, sigma)[:, None])[:, 0]


def _read(path: str) -> npt.NDArray[Any]:
    """The array of a .npy file."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        found = None
    if not isinstance(found, np.ndarray):
        raise OptionError(f"masks={path} was given; it is no .npy file of an array (N, *space) of 0 and 1")
    return found
