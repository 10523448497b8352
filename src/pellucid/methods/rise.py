"""RISE (Petsiuk et al. 2018, arXiv:1806.07421): how the score depends on what random masks leave visible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.inputs import chunks
from pellucid.core.method import Method
from pellucid.core.perturbation import Variants, one_by_one, scores_of
from pellucid.core.probe import Probe
from pellucid.core.space import upsample
from pellucid.core.target import Targets
from pellucid.errors import OptionError


@register_method("rise")
@dataclass(frozen=True)
class RISE(Method):
    """RISE: no gradient; one pass a random mask.

    With M_i smooth random masks, made of ``cells`` a side that are kept with probability ``keep``, and z the logit::

        map = 1 / (N · keep) Σ_i ( z(x ⊙ M_i) − mean z ) M_i, N = ``masks``

    The paper has no mean z: taking it away adds a near-constant to the map, takes away its noise, and gives it a sign.
    Masks are seeded by ``Runtime.seed`` and the same for every image; the class is that of the clean image. The
    map is (B, K, *space), in units of the logit. ``Runtime.batch_size`` masks go in one pass.

    When to use it: on any model, without gradients, where occlusion's square windows are too stiff. It takes thousands
    of masks to be steady: compare two seeds.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method=RISE(masks=50)).attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    masks: int = 1000
    cells: int = 7
    keep: float = 0.5

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        if self.masks < 2 or self.cells < 1:
            raise OptionError(f"masks must be at least 2 and cells at least 1, got {self.masks} and {self.cells}")
        if not 0 < self.keep < 1:
            raise OptionError(f"keep must be between 0 and 1, got {self.keep}")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        return Attribution(torch.stack([self._of(alone, target) for alone, target in one_by_one(probe, targets)]))

    def _of(self, probe: Probe, target: Targets) -> Tensor:
        """One image's maps (K, *space)."""
        image = probe.inputs.images
        clean = target.scores(probe.scores())[0]
        generator = probe.generator()
        # Σ z M, Σ z and Σ M, so that no mask is kept; z less the clean score, so that no digits are lost.
        weighed = drops = seen = clean.new_zeros(())
        for start, stop in chunks(self.masks, probe.batch_size):
            masks = self._drawn(stop - start, image, generator)
            drop = scores_of(probe, target, len(masks), _given(image * masks)) - clean
            weighed = weighed + torch.einsum("nk,n...->k...", drop, masks[:, 0].to(drop.dtype))
            drops, seen = drops + drop.sum(dim=0), seen + masks.sum(dim=0).to(drop.dtype)
        mean = (drops / self.masks).reshape(-1, *(1,) * (image.ndim - 2))
        return (weighed - mean * seen) / (self.masks * self.keep)

    def _drawn(self, count: int, image: Tensor, generator: torch.Generator) -> Tensor:
        """Masks (count, 1, *space) in [0, 1]: coarse random ones brought to size, and shifted by part of a cell."""
        size = image.shape[2:]
        steps = [-(-side // self.cells) for side in size]
        masks = []
        for _ in range(count):
            coarse = (torch.rand((self.cells,) * len(size), generator=generator) < self.keep).float()
            large = upsample(coarse[None, None], [(self.cells + 1) * step for step in steps])
            for axis, (side, step) in enumerate(zip(size, steps, strict=True), start=2):
                large = large.narrow(axis, int(torch.randint(0, step, (1,), generator=generator)), side)
            masks.append(large)
        return torch.cat(masks).to(image)


def _given(variants: Tensor) -> Variants:
    return lambda start, stop: variants[start:stop]
