"""Occlusion (Zeiler & Fergus 2014, arXiv:1311.2901): what the score loses when a window of the image is covered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.inputs import chunks
from pellucid.core.method import Method
from pellucid.core.perturbation import one_by_one, scores_of
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError


@register_method("occlusion")
@dataclass(frozen=True)
class Occlusion(Method):
    """Occlusion: no gradient; one pass a position of the window.

    With x_i the input x whose window i is covered with ``baseline`` (in the units of the input, after normalisation)::

        map(p) = mean, over the windows i that cover p, of z(x) − z(x_i)

    Windows of ``window`` pixels a side stand every ``stride`` pixels, the last at the border. None: an eighth of the
    shortest side, and half the window. In a sequence of images a window covers one of them. The class is that
    of the clean image. The map is (B, K, *space), signed, in units of the logit. ``Runtime.batch_size`` windows go in
    one pass.

    When to use it: as a check on other maps that everyone understands, on any model, without gradients. What is smaller
    than the window is not resolved; evidence that occurs twice is not found by covering one.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="occlusion").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    window: int | None = None
    stride: int | None = None
    baseline: float = 0.0

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        for name in ("window", "stride"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise OptionError(f"{name} must be at least 1 pixel, got {given}")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise OptionError(f"stride {self.stride} was set; windows of {self.window} pixels would leave gaps")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        return Attribution(torch.stack([self._of(alone, target) for alone, target in one_by_one(probe, targets)]))

    def _of(self, probe: Probe, target: Targets) -> Tensor:
        """One image's maps (K, *space)."""
        image = probe.inputs.images
        windows = self._windows(image.shape[2:], probe.inputs.is_sequence)
        covered = torch.full_like(image, self.baseline)

        def variants(start: int, stop: int) -> Tensor:
            return torch.where(_masks(windows[start:stop], image), covered, image)

        scores = scores_of(probe, target, len(windows), variants)
        drops = target.scores(probe.scores()) - scores
        total = torch.zeros(drops.shape[1], *image.shape[2:], dtype=drops.dtype, device=drops.device)
        count = torch.zeros_like(total[0])
        for start, stop in chunks(len(windows), probe.batch_size):
            masks = _masks(windows[start:stop], image)[:, 0].to(drops.dtype)
            total = total + torch.einsum("nk,n...->k...", drops[start:stop], masks)
            count = count + masks.sum(dim=0)
        return total / count

    def _windows(self, size: Sequence[int], is_sequence: bool) -> list[tuple[slice, ...]]:
        """Where the windows stand, row by row; in one image at a time of a sequence."""
        if is_sequence:
            each = self._windows(size[1:], is_sequence=False)
            return [(slice(number, number + 1), *window) for number in range(size[0]) for window in each]
        window = self.window or -(-min(size) // 8)
        stride = self.stride or -(-window // 2)
        if stride > window:
            raise OptionError(f"stride {stride} was set; windows of {window} pixels would leave gaps")
        return list(itertools.product(*(_stops(side, window, stride) for side in size)))


def _stops(side: int, window: int, stride: int) -> list[slice]:
    """The windows along one axis: every ``stride``, and one that ends at the border."""
    last = max(side - window, 0)
    return [slice(start, start + window) for start in dict.fromkeys([*range(0, last, stride), last])]


def _masks(windows: Sequence[tuple[slice, ...]], image: Tensor) -> Tensor:
    """Where each window lies, (N, 1, *space) bool."""
    masks = torch.zeros(len(windows), 1, *image.shape[2:], dtype=torch.bool, device=image.device)
    for mask, window in zip(masks, windows, strict=True):
        mask[(0, *window)] = True
    return masks
