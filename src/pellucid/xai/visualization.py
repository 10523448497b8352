"""The overlay of the published API, in OpenCV's colour maps and channel order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor

from pellucid.errors import MissingPackageError, OptionError, ShapeError

ImageLike = Tensor | npt.NDArray[Any] | PIL.Image.Image
_Array = npt.NDArray[Any]


def blended(image: ImageLike, heatmap: _Array, alpha: float, colormap: int, return_pil: bool) -> Any:
    """Blend: alpha · heatmap colours + (1 − alpha) · image, as uint8 BGR (H, W, 3) or an RGB PIL image."""
    cv2 = _opencv()
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha must be in [0, 1], got {alpha}")
    if heatmap.ndim != 2:
        raise ShapeError(f"heatmap must be (H, W), got {heatmap.shape}")
    rgb = _rgb(image)
    height, width = rgb.shape[:2]
    levels = np.clip(np.nan_to_num(heatmap), 0, 1).astype(np.float32)
    if levels.shape != (height, width):
        levels = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.rint(levels * 255).astype(np.uint8), colormap).astype(np.float32)
    mixed = alpha * colours + (1 - alpha) * rgb[..., ::-1]
    bgr = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return PIL.Image.fromarray(np.ascontiguousarray(bgr[..., ::-1])) if return_pil else bgr


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingPackageError(
            "visualize() needs OpenCV, which is not installed: pip install 'pellucid[xai]', or use pellucid.overlay"
        ) from None
    return cv2


def _rgb(image: ImageLike) -> npt.NDArray[np.float32]:
    """Any image as (H, W, 3) RGB in [0, 255]."""
    if isinstance(image, PIL.Image.Image) and image.mode.startswith(("I", "F")):
        image = torch.from_numpy(np.array(image, dtype=np.float32))  # convert("RGB") would clip it to 255
    if isinstance(image, PIL.Image.Image):
        return np.asarray(image.convert("RGB"), dtype=np.float32)
    array = _from_tensor(image) if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3):
        raise ShapeError(f"image must be grey or colour, (C, H, W) as a tensor or (H, W, C), got {array.shape}")
    scaled = array.astype(np.float32) if array.dtype == np.uint8 else _stretched(array) * 255
    return np.broadcast_to(scaled, (*array.shape[:2], 3))


def _stretched(array: _Array) -> npt.NDArray[np.float32]:
    """Values in [0, 1] unchanged; otherwise scaled from their minimum and maximum to [0, 1]."""
    levels: npt.NDArray[np.float32] = array.astype(np.float32)
    low, high = float(levels.min()), float(levels.max())
    if low < 0 or high > 1:
        levels = (levels - np.float32(low)) / np.float32(max(high - low, float(np.finfo(np.float32).tiny)))
    return levels


def _from_tensor(tensor: Tensor) -> _Array:
    """(C, H, W) or (1, C, H, W) as (H, W, C)."""
    values = tensor.detach().cpu()
    values = values.float() if values.is_floating_point() else values
    values = values[0] if values.ndim == 4 and len(values) == 1 else values
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3:
        raise ShapeError(f"image must be (C, H, W), (1, C, H, W) or (H, W), got {tuple(tensor.shape)}")
    array: _Array = values.movedim(0, -1).numpy()
    return array
