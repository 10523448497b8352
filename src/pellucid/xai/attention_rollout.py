"""``AttentionRollout`` of the published API."""

from __future__ import annotations

from typing import Any, Literal

import numpy.typing as npt
from torch import Tensor, nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.methods.rollout import Rollout
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.xai.config import gpu_or_own
from pellucid.xai.gradcam import one_image


class AttentionRollout:
    """Attention rollout with the published interface; ``pellucid.methods.rollout.Rollout`` computes it."""

    def __init__(
        self,
        model: nn.Module,
        discard_ratio: float = 0.1,
        head_fusion: Literal["mean", "max", "min"] = "mean",
        use_cuda: bool = True,
    ) -> None:
        self.model = model
        self.discard_ratio = discard_ratio
        self.head_fusion = head_fusion
        self.use_cuda = use_cuda
        self._method = Rollout(head_fusion, discard_ratio)

    @on_cpu_by_default
    def generate_attention_map(self, image: Tensor, reshape_to_grid: bool = True) -> npt.NDArray[Any]:
        """The class token's attention to the patches of one image, on the patch grid or flat.

        A model without attention raises a RuntimeError that begins "No attention maps captured".
        """
        batch = one_image(image)
        runtime = Runtime(device=gpu_or_own(self.use_cuda))
        attribution = kept(
            lambda: self._method.attribute(Pass.of(Session.of(self.model, runtime), batch), Targets("predicted"))
        )
        grid: npt.NDArray[Any] = attribution.values[0, 0].cpu().numpy()
        return grid if reshape_to_grid else grid.reshape(-1)
