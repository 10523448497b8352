"""``GradCAMConfig`` of the published API."""

from __future__ import annotations

from dataclasses import dataclass, field

from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError

_MODES = ("bilinear", "bicubic", "nearest")


@dataclass
class GradCAMConfig:
    """The layers of ``GradCAM``, its options, and the size and scale of its heatmaps.

    ``relu_on_gradients`` keeps only positive gradients, ``use_abs_gradients`` uses their magnitude.
    ``eigen_smooth`` projects weight × activation onto the first principal component. ``batch_size`` is the number of
    images per pass. ``output_size``: (H, W), or None for the input's size. ``interpolation_mode``: bilinear, bicubic
    or nearest. ``normalize_heatmap`` scales each map to [0, 1]; a constant map becomes zeros. A wrong value raises a
    ValueError; ``target_layers`` given as a string raises a TypeError.
    """

    target_layers: list[str] = field(default_factory=lambda: ["layer4"])
    use_cuda: bool = True
    relu_on_gradients: bool = False
    use_abs_gradients: bool = False
    eigen_smooth: bool = False
    batch_size: int = 32
    output_size: tuple[int, int] | None = None
    interpolation_mode: str = "bilinear"
    normalize_heatmap: bool = True

    def __post_init__(self) -> None:
        """Check all values."""
        if isinstance(self.target_layers, str):
            raise TypeError(f"target_layers must be a list of layer names, got the string {self.target_layers!r}")
        if not self.target_layers:
            raise OptionError("target_layers cannot be empty")
        wrong = [layer for layer in self.target_layers if not isinstance(layer, str)]
        if wrong:
            raise TypeError(f"target_layers must be layer names, got {type(wrong[0]).__name__}: write 'layer4'")
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.output_size is not None:
            _check_size(self.output_size)
        if self.interpolation_mode not in _MODES:
            raise OptionError(f"Invalid interpolation_mode: {self.interpolation_mode}")

    @property
    def runtime(self) -> Runtime:
        """The device and the batch size."""
        return Runtime(device=gpu_or_own(self.use_cuda), batch_size=self.batch_size)


def gpu_or_own(use_cuda: bool) -> str:
    """A GPU if there is one and ``use_cuda`` is set, otherwise the model's device."""
    import torch

    return "cuda" if use_cuda and torch.cuda.is_available() else "auto"


def _check_size(size: object) -> None:
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(hasattr(side, "__index__") for side in size):
        raise OptionError(f"output_size must be (H, W), got {size}")
    if min(size) <= 0:
        raise OptionError(f"output_size dimensions must be > 0, got {size}")
